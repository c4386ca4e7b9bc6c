# Sourced before CMake configures. The dev build, the wheel and the installed package compile the same
# units by the same commands, so each is compiled once; in build/, so that nothing outlives the tree.
if command -v ccache >/dev/null; then
  export CMAKE_CXX_COMPILER_LAUNCHER=ccache CCACHE_DIR=$PWD/build/ccache CCACHE_DEPEND=1
fi
# GCC begins to look for memory to free when it has 128 MB, which takes longer than it is worth.
if [ -z "${CXX:-}" ]; then
  export CXX=g++  # by the one name that Python's build has for it, as ccache asks for the same name
  export CXXFLAGS="${CXXFLAGS:-} --param=ggc-min-heapsize=1000000 --param=ggc-min-expand=1000"
fi
