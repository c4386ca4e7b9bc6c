# Third parties, found once. Each stays private to the folder that may know it.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(simdjson REQUIRED)
find_package(nlohmann_json REQUIRED)
pkg_check_modules(sentencepiece REQUIRED IMPORTED_TARGET sentencepiece)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)

# Unicode's normal forms and Snowball's stemmers, for the words of lexical search. Static archives:
# both are position-independent, and small.
find_library(COLLEGIUM_UTF8PROC NAMES libutf8proc.a utf8proc REQUIRED)
find_library(COLLEGIUM_STEMMER NAMES libstemmer.a stemmer REQUIRED)

find_package(RocksDB REQUIRED)

# FAISS is a static archive that wants OpenMP and a BLAS. The BLAS is OpenBLAS's serial flavour,
# linked statically and on purpose: the reference BLAS is 28 times slower, and no path of ours
# calls it at search time (its results change with the batch size).
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_library(COLLEGIUM_OPENBLAS NAMES libopenblas.a
             PATH_SUFFIXES openblas-serial ${CMAKE_LIBRARY_ARCHITECTURE}/openblas-serial REQUIRED)
find_library(COLLEGIUM_FAISS NAMES libfaiss.a REQUIRED)
find_path(COLLEGIUM_FAISS_INCLUDE faiss/Index.h REQUIRED)
add_library(collegium_faiss INTERFACE)
target_include_directories(collegium_faiss SYSTEM INTERFACE ${COLLEGIUM_FAISS_INCLUDE})
target_link_libraries(collegium_faiss INTERFACE
  ${COLLEGIUM_FAISS} ${COLLEGIUM_OPENBLAS} gfortran OpenMP::OpenMP_CXX)
