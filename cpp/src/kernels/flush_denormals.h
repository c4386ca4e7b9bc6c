#pragma once

#if defined(__SSE2__)
#include <pmmintrin.h>
#include <xmmintrin.h>
#endif

namespace collegium::core {

// While it lives, this thread takes and gives denormals as zeros, as the threads of ThreadPool do:
// a result must not depend on whose thread computed which part, and denormals are slow.
class FlushDenormals {
 public:
#if defined(__SSE2__)
  FlushDenormals() : control_(_mm_getcsr()) {
    _MM_SET_FLUSH_ZERO_MODE(_MM_FLUSH_ZERO_ON);
    _MM_SET_DENORMALS_ZERO_MODE(_MM_DENORMALS_ZERO_ON);
  }
  ~FlushDenormals() { _mm_setcsr(control_); }
#else
  FlushDenormals() = default;
#endif
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
#if defined(__SSE2__)
  unsigned int control_;
#endif
};

}  // namespace collegium::core
