// A CUDA driver without a GPU: contexts, streams, captures, memory with kinds, and failures on demand. It launches nothing; it keeps a
// record of what was asked.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "cuda/driver.h"
#include "fake_system.h"

namespace support {

struct FakeContext {
  int device;
  unsigned long long id;
};

struct FakeGraph {
  std::vector<struct FakeObject*> objects;
};

struct FakeStream {
  FakeContext* context;
  unsigned long long id;
  int capture_status = 0;
  std::uint64_t capture = 0;
  FakeGraph* graph = nullptr;
};

struct FakeObject {
  void* data;
  void (*destroy)(void*);
};

struct FakeMemory {
  std::size_t bytes;
  unsigned type;  // CU_MEMORYTYPE_*
  bool managed;
  int device;
};

struct FakeLaunch {
  cumulus::cuda::CUfunction function;
  cumulus::cuda::CUstream stream;
  unsigned grid, block, shared;
  std::uint64_t workspace;  // HostArgs::workspace
  cumulus::cuda::CUcontext context;
};

// What a tensor map was made from.
struct FakeTensorMap {
  void* address;
  std::uint64_t sizes[3], strides[2];
  unsigned box[3];
};

// The state behind the functions; one for the process, made anew by reset().
struct FakeDriver {
  int version = 13000;
  int init_result = 0;
  int devices = 2;
  int compute_mode = 0;
  bool pools = true;
  std::string device_name = "NVIDIA H200";
  int capability = 90;
  std::size_t memory_limit = std::size_t{1} << 40;

  std::map<std::string, int> fail;   // functions that return this code
  std::map<std::string, int> calls;  // how often each was called
  std::set<std::string> missing;     // functions the driver does not have
  std::vector<FakeLaunch> launches;
  std::vector<FakeTensorMap> tensor_maps;

  static inline FakeContext primary[2] = {{0, 100}, {1, 101}};  // outlive reset(), as the library remembers them
  std::map<std::uint64_t, FakeMemory> memory;                   // by address
  std::size_t allocated = 0;
  std::set<const void*> pending_events;
  std::vector<std::string> loaded_images;
  std::map<std::string, int> refused_images;  // machine code whose loading returns this code
  int capture_mode = 0;

  static FakeDriver& get();
  static void reset();

  void end_graph(FakeGraph& graph);  // the last reference is gone
  std::uint64_t add_memory(unsigned type, int device, bool managed = false, std::size_t bytes = 1 << 20);

 private:
  std::uint64_t next_address_ = 0x700000000000;
};

// The library, to be opened through a FakeSystem; and the table for code that takes a Driver.
FakeLibrary& fake_libcuda();
cumulus::cuda::Driver fake_driver();

inline cumulus::cuda::CUstream handle(FakeStream& stream) { return reinterpret_cast<cumulus::cuda::CUstream>(&stream); }
inline cumulus::cuda::CUcontext handle(FakeContext& context) { return reinterpret_cast<cumulus::cuda::CUcontext>(&context); }

}  // namespace support
