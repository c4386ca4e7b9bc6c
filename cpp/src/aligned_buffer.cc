#include "collegium/core/aligned_buffer.h"

#include <algorithm>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace collegium::core::internal {

void* allocate_large(std::size_t bytes) {
  // The last page is a huge one too if most of it is used; else no memory is wasted on it.
  const std::size_t tail = bytes % kHugePage;
  const std::size_t huge = bytes - tail + (is_large(tail) ? kHugePage : 0);
  void* const memory = ::operator new(std::max(bytes, huge), std::align_val_t(kHugePage));
#ifdef __linux__
  madvise(memory, huge, MADV_HUGEPAGE);  // a wish: where it is refused all is as without
#endif
  return memory;
}

void free_large(void* memory) noexcept { ::operator delete(memory, std::align_val_t(kHugePage)); }

}  // namespace collegium::core::internal
