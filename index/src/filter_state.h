#pragma once

#include <memory>

#include "collection_state.h"
#include "collegium/index/filter.h"

namespace collegium::index {

// `state` with nothing alive but what the filter accepts: the same segments in the same order, with
// fewer live positions. So every search that asks a state which positions live, by vector or by
// words, is a filtered one when it is given this. A null filter gives `state` itself. Evaluated
// once for each segment and filter; later calls cost a pass over the live bits.
std::shared_ptr<const CollectionState> filter_state(std::shared_ptr<const CollectionState> state,
                                                    const std::shared_ptr<const Filter>& filter);

}  // namespace collegium::index
