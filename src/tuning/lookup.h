// Where a call's parameters come from: the user's tuning file, read once by a process and never again, or the planner.
#pragma once

#include <string>

#include "cpu/cpu_info.h"
#include "cuda/plan.h"
#include "plan.h"
#include "tuning/cache.h"

namespace cumulus::tuning {

// CUMULUS_TUNING_FILE, else $XDG_CONFIG_HOME/cumulus/tuning.json, else $HOME/.config/cumulus/tuning.json; "" for none.
std::string file_path();

// CUMULUS_TUNING=off: nothing is looked up.
bool switched_off();

// This machine and build, for the CPU backend.
Machine this_machine(const cpu::CpuInfo& cpu);

// A file as it was found. Whatever is wrong with it, it is a miss: an empty cache, and a note for people.
struct File {
  std::string path;
  Cache cache;
  std::string note;      // "" where there is nothing to say
  bool ignored = false;  // something is there that cannot be used: the note says what and why
};
File read_file(const std::string& path);

// A plan, and where its parameters come from: "exact entry", ...; with what and why for people.
struct Planned {
  Plan plan;
  Source source = Source::none;
  std::string why;
};
Planned planned(const Problem& problem, const cpu::CpuInfo& cpu);

// Does a call move enough to be looked up, 1 MiB? A smaller one would spend its gain on looking.
bool is_looked_up(const Problem& problem);

// The same for a scan that is about to run: only the plan.
Plan plan_to_run(const Problem& problem, const cpu::CpuInfo& cpu);

// The same for a scan on CUDA device `device`, as `info` describes it.
struct CudaPlanned {
  cuda::Plan plan;
  Source source = Source::none;
  std::string why;
};
CudaPlanned planned(const Problem& problem, int device, const cuda::DeviceInfo& info);
cuda::Tuning cuda_tuning_to_run(const Problem& problem, int device);

}  // namespace cumulus::tuning
