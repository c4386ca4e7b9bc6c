#pragma once

#include <pybind11/pybind11.h>

namespace collegium::python {

// One function for each folder the module shows, called once, in this order.
void bind_core(pybind11::module_& module);          // threads, ISA, tokenizers, passages
void bind_experts(pybind11::module_& module);       // Encoder, HeadAdapter and its training
void bind_expert_set(pybind11::module_& module);    // LoraAdapter, ExpertSet
void bind_lm_routing(pybind11::module_& module);    // token routers and traces
void bind_lm(pybind11::module_& module);            // LanguageModel
void bind_lm_scheduler(pybind11::module_& module);  // GenerationScheduler
void bind_routing(pybind11::module_& module);       // Route, gate and policy: parts of an Answer
void bind_evaluation(pybind11::module_& module);    // metrics, Evaluation
void bind_library(pybind11::module_& module);       // Library and its reports
void bind_operations(pybind11::module_& module);    // what keeps a Library's folder well

}  // namespace collegium::python
