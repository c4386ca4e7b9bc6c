#include "filter_state.h"

#include <bit>
#include <utility>

#include "filter_program.h"

namespace collegium::index {
namespace {

using Bits = std::vector<std::uint8_t>;

LiveSegment filter_segment(const LiveSegment& part, const std::shared_ptr<const Filter>& filter) {
  const Segment& segment = *part.segment;
  LiveSegment made = part;
  if (segment.metadata == nullptr) {  // no document has any
    if (filter->program().accepts_empty) return made;
    made.live = std::make_shared<const Bits>((segment.size() + 7) / 8, 0);
    made.num_live = 0;
    return made;
  }
  const auto accepted = segment.metadata->accepted(filter, segment.first);
  if (part.live == nullptr) {
    made.live = std::shared_ptr<const Bits>(accepted, &accepted->bits);
    made.num_live = accepted->count;
    return made;
  }
  auto both = std::make_shared<Bits>(*part.live);
  made.num_live = 0;
  for (std::size_t byte = 0; byte < both->size(); ++byte) {
    (*both)[byte] &= accepted->bits[byte];
    made.num_live += static_cast<std::size_t>(std::popcount((*both)[byte]));
  }
  made.live = std::move(both);
  return made;
}

}  // namespace

std::shared_ptr<const CollectionState> filter_state(std::shared_ptr<const CollectionState> state,
                                                    const std::shared_ptr<const Filter>& filter) {
  if (filter == nullptr) return state;
  auto made = std::make_shared<CollectionState>(*state);
  for (LiveSegment& part : made->segments) part = filter_segment(part, filter);
  return made;
}

}  // namespace collegium::index
