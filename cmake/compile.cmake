# How everything is compiled.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)

# The order fixes every operation: no contraction, no reassociation.
add_compile_options(-Wall -Wextra -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 sees overlaps in std::string that are not there (GCC bug 105329), and with NEON or sanitizers uninitialised variables.
  add_compile_options(-Wno-restrict)
  if(CMAKE_CROSSCOMPILING)
    add_compile_options(-Wno-maybe-uninitialized)
  endif()
endif()
if(CUMULUS_WERROR)
  add_compile_options(-Werror)
endif()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  # SSE4 is the least target: without it Highway would add an emulated one that no machine needs.
  add_compile_options(-march=x86-64-v2)
  add_compile_definitions(HWY_DISABLE_PCLMUL_AES)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  # SVE's vectors have no size at compile time, and so no place in a segment of vectors. Highway marks its NEON functions with crypto,
  # and GCC inlines them only into code that has it too; no cryptographic instruction is emitted.
  add_compile_options(-march=armv8-a+crypto)
  add_compile_definitions("HWY_DISABLED_TARGETS=(HWY_SVE|HWY_SVE2|HWY_SVE_256|HWY_SVE2_128)")
endif()

# Dev builds run at a usable speed, with the standard library's assertions.
set(CMAKE_CXX_FLAGS_DEBUG "-Og -g")
add_compile_definitions($<$<CONFIG:Debug>:_GLIBCXX_ASSERTIONS>)

# Sanitizer builds: quick to compile and to run, with line numbers. Targets that set CUMULUS_PLAIN are compiled as for a release.
if(CUMULUS_SANITIZE)
  list(JOIN CUMULUS_SANITIZE "," sanitizers)
  set(instrumented $<NOT:$<BOOL:$<TARGET_PROPERTY:CUMULUS_PLAIN>>>)
  add_compile_options("$<${instrumented}:-O1;-UNDEBUG;-g1;-fno-omit-frame-pointer;-fsanitize=${sanitizers};-fno-sanitize-recover=all>")
  add_compile_definitions($<${instrumented}:_GLIBCXX_ASSERTIONS>)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options($<${instrumented}:-Wno-maybe-uninitialized>)
  endif()
  add_link_options(-fsanitize=${sanitizers})
endif()

add_link_options(LINKER:--as-needed)

find_program(CUMULUS_CCACHE ccache)
if(CUMULUS_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${CUMULUS_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CUMULUS_CCACHE})
endif()

# Installed files find each other, and libraries copied beside them, wherever the tree is moved to.
file(RELATIVE_PATH bin_to_lib /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
set(CMAKE_INSTALL_RPATH $ORIGIN $ORIGIN/${bin_to_lib})
