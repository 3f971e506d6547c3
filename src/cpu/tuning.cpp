#include "cpu/tuning.h"

namespace cumulus::cpu {
namespace {

constinit thread_local const Tuning* forced = nullptr;

}  // namespace

ForceTuning::ForceTuning(const Tuning& tuning) : tuning_(tuning), before_(forced) { forced = &tuning_; }
ForceTuning::~ForceTuning() { forced = before_; }

const Tuning* ForceTuning::current() { return forced; }

}  // namespace cumulus::cpu
