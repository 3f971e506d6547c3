// The part of CUPTI's interface that Cumulus uses, declared here so that no CUDA header is needed to build: the host half (metrics of a
// chip, without a GPU) and the range profiler, as of CUDA 12.6. Names and values are CUPTI's own. Later releases append to the structures;
// `structSize` says how much of them the caller knows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/driver_api.h"

namespace cumulus::cuda {

using CUptiResult = int;
using CUpti_Profiler_Host_Object = struct CUpti_Profiler_Host_Object_st*;
using CUpti_RangeProfiler_Object = struct CUpti_RangeProfiler_Object_st*;

enum : CUptiResult {
  CUPTI_SUCCESS = 0,
  CUPTI_ERROR_INVALID_PARAMETER = 1,
  CUPTI_ERROR_INVALID_OPERATION = 7,
  CUPTI_ERROR_NOT_COMPATIBLE = 14,
  CUPTI_ERROR_NOT_INITIALIZED = 15,
  CUPTI_ERROR_INVALID_METRIC_NAME = 17,
  CUPTI_ERROR_HARDWARE_BUSY = 26,
  CUPTI_ERROR_NOT_SUPPORTED = 27,
  CUPTI_ERROR_VIRTUALIZED_DEVICE_NOT_SUPPORTED = 33,
  CUPTI_ERROR_INSUFFICIENT_PRIVILEGES = 35,
  CUPTI_ERROR_OLD_PROFILER_API_INITIALIZED = 36,
  CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED = 39,
  CUPTI_ERROR_VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES = 40,
  CUPTI_ERROR_CONFIDENTIAL_COMPUTING_NOT_SUPPORTED = 41,
  CUPTI_ERROR_MIG_DEVICE_NOT_SUPPORTED = 43,
  CUPTI_ERROR_SLI_DEVICE_NOT_SUPPORTED = 44,
  CUPTI_ERROR_WSL_DEVICE_NOT_SUPPORTED = 45,
  CUPTI_ERROR_INVALID_CHIP_NAME = 46,
  CUPTI_ERROR_UNKNOWN = 999
};

enum : int { CUPTI_PROFILER_TYPE_RANGE_PROFILER = 0, CUPTI_UserRange = 2, CUPTI_UserReplay = 3 };

// Every structure begins with these two.
struct CuptiParams {
  std::size_t structSize;
  void* pPriv;
};

struct CUpti_Profiler_Initialize_Params : CuptiParams {};
struct CUpti_Profiler_DeInitialize_Params : CuptiParams {};

struct CUpti_Device_GetChipName_Params : CuptiParams {
  std::size_t deviceIndex;
  const char* pChipName;
};

struct CUpti_Profiler_GetCounterAvailability_Params : CuptiParams {
  CUcontext ctx;
  std::size_t counterAvailabilityImageSize;
  std::uint8_t* pCounterAvailabilityImage;
};

// ---- the host half ----

struct CUpti_Profiler_Host_GetSupportedChips_Params : CuptiParams {
  std::size_t numChips;
  const char* const* ppChipNames;
};

struct CUpti_Profiler_Host_Initialize_Params : CuptiParams {
  int profilerType;
  const char* pChipName;
  const std::uint8_t* pCounterAvailabilityImage;
  CUpti_Profiler_Host_Object pHostObject;
};

struct CUpti_Profiler_Host_Deinitialize_Params : CuptiParams {
  CUpti_Profiler_Host_Object pHostObject;
};

struct CUpti_Profiler_Host_ConfigAddMetrics_Params : CuptiParams {
  CUpti_Profiler_Host_Object pHostObject;
  const char** ppMetricNames;
  std::size_t numMetrics;
};

struct CUpti_Profiler_Host_GetConfigImageSize_Params : CuptiParams {
  CUpti_Profiler_Host_Object pHostObject;
  std::size_t configImageSize;
};

struct CUpti_Profiler_Host_GetConfigImage_Params : CuptiParams {
  CUpti_Profiler_Host_Object pHostObject;
  std::size_t configImageSize;
  std::uint8_t* pConfigImage;
};

struct CUpti_Profiler_Host_GetNumOfPasses_Params : CuptiParams {
  std::size_t configImageSize;
  std::uint8_t* pConfigImage;
  std::size_t numOfPasses;
};

struct CUpti_Profiler_Host_EvaluateToGpuValues_Params : CuptiParams {
  CUpti_Profiler_Host_Object pHostObject;
  const std::uint8_t* pCounterDataImage;
  std::size_t counterDataImageSize;
  std::size_t rangeIndex;
  const char** ppMetricNames;
  std::size_t numMetrics;
  double* pMetricValues;
};

// ---- the range profiler ----

struct CUpti_RangeProfiler_Enable_Params : CuptiParams {
  CUcontext ctx;
  CUpti_RangeProfiler_Object pRangeProfilerObject;
};

// Of Disable, Start and PopRange.
struct CUpti_RangeProfiler_Object_Params : CuptiParams {
  CUpti_RangeProfiler_Object pRangeProfilerObject;
};

struct CUpti_RangeProfiler_GetCounterDataSize_Params : CuptiParams {
  CUpti_RangeProfiler_Object pRangeProfilerObject;
  const char** pMetricNames;
  std::size_t numMetrics;
  std::size_t maxNumOfRanges;
  std::uint32_t maxNumRangeTreeNodes;
  std::size_t counterDataSize;
};

struct CUpti_RangeProfiler_CounterDataImage_Initialize_Params : CuptiParams {
  CUpti_RangeProfiler_Object pRangeProfilerObject;
  std::size_t counterDataSize;
  std::uint8_t* pCounterData;
};

struct CUpti_RangeProfiler_SetConfig_Params : CuptiParams {
  CUpti_RangeProfiler_Object pRangeProfilerObject;
  std::size_t configSize;
  const std::uint8_t* pConfig;
  std::size_t counterDataImageSize;
  std::uint8_t* pCounterDataImage;
  int range;
  int replayMode;
  std::size_t maxRangesPerPass;
  std::uint16_t numNestingLevels;
  std::uint16_t minNestingLevel;
  std::size_t passIndex;
  std::uint16_t targetNestingLevel;
};

struct CUpti_RangeProfiler_PushRange_Params : CuptiParams {
  CUpti_RangeProfiler_Object pRangeProfilerObject;
  const char* pRangeName;
};

struct CUpti_RangeProfiler_Stop_Params : CuptiParams {
  CUpti_RangeProfiler_Object pRangeProfilerObject;
  std::size_t passIndex;
  std::size_t targetNestingLevel;
  std::uint8_t isAllPassSubmitted;
};

struct CUpti_RangeProfiler_DecodeData_Params : CuptiParams {
  CUpti_RangeProfiler_Object pRangeProfilerObject;
  std::size_t numOfRangeDropped;
};

// A structure's size as CUPTI counts it: up to the end of the last field, without what pads it.
template <class Params>
constexpr std::size_t struct_size() {
  return sizeof(Params);
}
template <>
constexpr std::size_t struct_size<CUpti_RangeProfiler_SetConfig_Params>() {
  return sizeof(CUpti_RangeProfiler_SetConfig_Params) - 6;
}
template <>
constexpr std::size_t struct_size<CUpti_RangeProfiler_Stop_Params>() {
  return sizeof(CUpti_RangeProfiler_Stop_Params) - 7;
}

static_assert(sizeof(CuptiParams) == 16 && sizeof(CUpti_Profiler_Host_Initialize_Params) == 48);
static_assert(struct_size<CUpti_RangeProfiler_SetConfig_Params>() == 90 && struct_size<CUpti_RangeProfiler_Stop_Params>() == 41);

}  // namespace cumulus::cuda
