# One folder, one target, one call. collegium_module(index SOURCES ... PUBLIC ... PRIVATE ...)
# makes, from this folder's sources:
#   collegium_<name>           the shared library that is installed, alias collegium::<name>;
#                              third parties inside it are hidden
#   collegium_<name>_internal  the same objects as a static library with src/ on the include path,
#                              for this folder's own tests and benchmarks
# Only PUBLIC targets' headers are visible, so an include against cpp <- index <- router <- python
# does not compile.

set(COLLEGIUM_WARNINGS -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wcast-align -Woverloaded-virtual)
if(COLLEGIUM_WERROR)
  list(APPEND COLLEGIUM_WARNINGS -Werror)
endif()

# -ffp-contract=off: a result must not depend on which multiply-adds a compiler chose to fuse.
set(COLLEGIUM_COMPILE_OPTIONS -ffp-contract=off)
# Sanitizers and slow compiles. Tests, and the kernels of an instruction set, whose scalar twins are
# UBSan's subject in their place, are compiled without UBSan. In COLLEGIUM_SANITIZE_CALLS ASan's
# checks are calls: slower to run, but in line GCC 12 takes minutes for the largest templates.
set(COLLEGIUM_SANITIZE_LESS "")
set(COLLEGIUM_SANITIZE_CALLS "")
set(COLLEGIUM_AVX512 -mavx512f -mavx512dq -mavx512bw -mavx512vl)
set(COLLEGIUM_NO_FALSE_ALARM "")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")  # GCC 12's own header of intrinsics, bug 105593
  set(COLLEGIUM_NO_FALSE_ALARM -Wno-maybe-uninitialized -Wno-uninitialized)
endif()
# Tiles live in registers only if every loop over them is unrolled.
set(COLLEGIUM_KERNEL_OPTIONS -O3)
if(COLLEGIUM_SANITIZE)
  # Without no-recover undefined behaviour is printed and the test passes. A null pointer, the end of
  # an object and a wrong type's function end in ASan's report or a crash without UBSan's checks.
  list(APPEND COLLEGIUM_COMPILE_OPTIONS -fsanitize=${COLLEGIUM_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${COLLEGIUM_SANITIZE})
  if(COLLEGIUM_SANITIZE MATCHES "undefined")
    list(APPEND COLLEGIUM_COMPILE_OPTIONS -fno-sanitize=null,object-size,vptr)
    list(APPEND COLLEGIUM_SANITIZE_LESS -fno-sanitize=undefined)
  endif()
  if(COLLEGIUM_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND COLLEGIUM_SANITIZE_CALLS --param=asan-instrumentation-with-call-threshold=0)
  endif()
  set(COLLEGIUM_KERNEL_OPTIONS -O1 ${COLLEGIUM_SANITIZE_LESS})
endif()

function(collegium_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  set(target collegium_${name})

  add_library(${target}_objects OBJECT ${ARG_SOURCES})
  target_include_directories(${target}_objects
    PUBLIC $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
    PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/src)
  target_compile_options(${target}_objects PRIVATE ${COLLEGIUM_WARNINGS} ${COLLEGIUM_COMPILE_OPTIONS})
  target_compile_definitions(${target}_objects PRIVATE COLLEGIUM_BUILDING)
  target_link_libraries(${target}_objects PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})

  add_library(${target} SHARED $<TARGET_OBJECTS:${target}_objects>)
  add_library(collegium::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES
    EXPORT_NAME ${name}
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}
    INSTALL_RPATH "$ORIGIN")
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_options(${target} PRIVATE -Wl,--exclude-libs,ALL -Wl,--no-undefined)
  if(COLLEGIUM_SANITIZE)  # the runtime's symbols live in the executable
    target_link_options(${target} PRIVATE -Wl,-z,undefs)
  endif()
  target_link_libraries(${target} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})

  add_library(${target}_internal STATIC EXCLUDE_FROM_ALL $<TARGET_OBJECTS:${target}_objects>)
  target_include_directories(${target}_internal PUBLIC
    ${CMAKE_CURRENT_SOURCE_DIR}/include ${CMAKE_CURRENT_SOURCE_DIR}/src)
  target_link_libraries(${target}_internal PUBLIC ${ARG_PUBLIC} ${ARG_PRIVATE})

  install(TARGETS ${target} EXPORT collegium-targets
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT collegium)
  install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT collegium_headers)
endfunction()
