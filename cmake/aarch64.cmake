# Cross build for aarch64 on Debian, against libraries that scripts/test_aarch64 unpacks; programs run under user-mode emulation.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

# Found first in the unpacked tree; headers without code (CLI11, nlohmann-json) are the host's.
set(aarch64_root ${CMAKE_CURRENT_LIST_DIR}/../build/aarch64-root/usr)
cmake_path(NORMAL_PATH aarch64_root)
set(CMAKE_FIND_ROOT_PATH ${aarch64_root} /usr/aarch64-linux-gnu)
set(CMAKE_PREFIX_PATH ${aarch64_root})
set(libraries ${aarch64_root}/lib/aarch64-linux-gnu)
set(CMAKE_EXE_LINKER_FLAGS_INIT -Wl,-rpath-link,${libraries})
set(CMAKE_SHARED_LINKER_FLAGS_INIT -Wl,-rpath-link,${libraries})
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH=${libraries})
