# cmake -DBUILD=... -DSOURCE=... -DWORK=... -DFAISS=... -DFAISS_INCLUDE=... -DOPENBLAS=... -P run.cmake
# Installs the build, compiles a consumer of it, runs it, and looks at what the libraries export.
cmake_minimum_required(VERSION 3.25)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output
                  ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${ARGN}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})
set(prefix ${WORK}/prefix)
foreach(component collegium collegium_headers)
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix} --component ${component})
endforeach()

foreach(header
    faiss/Index.h faiss/IndexFlat.h faiss/IndexHNSW.h rocksdb/db.h rocksdb/options.h
    rocksdb/write_batch.h Eigen/Core Eigen/Dense sentencepiece_processor.h simdjson.h xxhash.h
    nlohmann/json.hpp nlohmann/json_fwd.hpp utf8proc.h omp.h cblas.h)
  file(WRITE ${WORK}/poison/${header} "#error a public header of collegium includes ${header}\n")
endforeach()

run(${CMAKE_COMMAND} -G Ninja -S ${SOURCE}/tests/consumer/project -B ${WORK}/build
    -DCMAKE_BUILD_TYPE=Debug -DCMAKE_PREFIX_PATH=${prefix} -DCOLLEGIUM_PREFIX=${prefix}
    -DPOISON=${WORK}/poison -DEXAMPLE=${SOURCE}/examples/first_route.cc
    -DFAISS=${FAISS} -DFAISS_INCLUDE=${FAISS_INCLUDE} -DOPENBLAS=${OPENBLAS})
run(${CMAKE_COMMAND} --build ${WORK}/build)

set(encoder ${SOURCE}/tests/data/encoder/plain)
run(${WORK}/build/first_route ${WORK}/library ${encoder})
foreach(part route gate "\\[1\\]" cost "0 network")
  if(NOT output MATCHES "${part}")
    message(FATAL_ERROR "first_route printed no '${part}':\n${output}")
  endif()
endforeach()
message(STATUS "first_route:\n${output}")
run(${WORK}/build/own_faiss ${WORK}/library-beside-faiss ${encoder})

# Third parties are private: none of their symbols may leave a library of ours.
file(GLOB libraries ${prefix}/lib/libcollegium_*.so ${prefix}/lib/*/libcollegium_*.so)
list(LENGTH libraries count)
if(NOT count EQUAL 3)
  message(FATAL_ERROR "expected three installed libraries, found: ${libraries}")
endif()
foreach(library ${libraries})
  run(nm -D --defined-only -C ${library})
  string(REPLACE "\n" ";" symbols "${output}")
  # Ours may mention a third party in their own arguments; what counts is whose symbol it is.
  set(foreign ${symbols})
  list(FILTER foreign INCLUDE REGEX
       " (vtable for |typeinfo for |typeinfo name for |void |bool )*(faiss|rocksdb|sentencepiece|simdjson|nlohmann|Eigen)::| (cblas_|openblas_|[sd]gemm_|XXH)")
  if(foreign)
    list(LENGTH foreign number)
    list(SUBLIST foreign 0 10 first)
    message(FATAL_ERROR "${library} exports ${number} symbols of third parties: ${first}")
  endif()
  if(NOT output MATCHES "collegium::")
    message(FATAL_ERROR "${library} exports nothing of ours: the check saw no symbols")
  endif()
endforeach()
