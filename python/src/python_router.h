#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "collegium/core/lm/token_router.h"

namespace collegium::python {

// A Python object with route(hidden, logits, layer, position) -> (ids, weights) as a token router;
// see collegium.lm.TokenRouter. Takes the GIL for each call. What it raises becomes
// invalid_argument with the place it was raised, KeyboardInterrupt goes on as such.
std::shared_ptr<core::TokenRouter> make_python_router(pybind11::object router);

}  // namespace collegium::python
