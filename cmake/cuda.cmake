# The CUDA backend needs nothing of CUDA to build: the driver and NVRTC are opened at run time, and the device code is embedded as text.

# Kernels include each other, and what they share with the host, by bare names.
file(GLOB kernel_files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/src/cuda/kernels/*.cuh)
set(kernel_sources "")
foreach(path IN LISTS kernel_files ITEMS ${CMAKE_CURRENT_SOURCE_DIR}/src/cuda/args.h)
  get_filename_component(name ${path} NAME)
  list(APPEND kernel_sources "${name}=${path}")
endforeach()
embed_files(cumulus_objects cumulus::cuda cuda/kernel_sources.h kernel_sources ${kernel_sources})
embed_files(cumulus_objects cumulus::cuda cuda/yardstick_sources.h yardstick_sources
            yardsticks.cuh=${CMAKE_CURRENT_SOURCE_DIR}/src/cuda/yardsticks.cuh)
