#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bind.h"
#include "calls.h"
#include "collegium/core/lm/language_model.h"
#include "display.h"

namespace py = pybind11;

namespace collegium::python {
namespace {

using core::ChatMessage;
using core::GenerateOptions;
using core::GenerateRequest;
using core::Generation;
using core::LanguageModel;
using core::Score;
using core::ScoreOptions;
using Messages = std::vector<std::pair<std::string, std::string>>;

std::vector<ChatMessage> chat_messages(const Messages& messages) {
  std::vector<ChatMessage> out;
  out.reserve(messages.size());
  for (const auto& [role, content] : messages) out.push_back({role, content});
  return out;
}

// `work(on_token, progress)` without the GIL; Ctrl-C stops it at the next token, or, while the
// prompt is read, after a few.
template <typename Work>
Generation run_generation(const py::object& on_token, const py::object& progress, Work&& work) {
  Watch watch{progress};
  auto result = [&] {
    py::gil_scoped_release release;
    return work([&](std::string_view piece) { return watch.on_token(on_token, piece); },
                watch.progress());
  }();
  watch.rethrow();
  return unwrap(std::move(result));
}

// A request of a batch with its Python callback, and what that raised.
class BatchedRequest {
 public:
  BatchedRequest(std::string prompt, GenerateOptions options, py::object on_token)
      : on_token_(std::move(on_token)) {
    request_.prompt = std::move(prompt);
    request_.options = std::move(options);
    if (!on_token_.is_none())
      request_.on_token = [this](std::string_view piece) { return call(piece); };
  }

  GenerateRequest take_request() { return std::move(request_); }
  // With the GIL: the generation, or the exception that stands for it.
  py::object outcome(Result<Generation> result) {
    try {
      if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
      return py::cast(unwrap(std::move(result)));
    } catch (py::error_already_set& error) {
      if (!error.matches(PyExc_Exception)) throw;  // KeyboardInterrupt
      return error.value();
    } catch (const StatusError& error) {
      return exception_of(error.status());
    }
  }

 private:
  bool call(std::string_view piece) {
    py::gil_scoped_acquire acquire;
    return give_piece(on_token_, piece, error_);
  }

  py::object on_token_;
  GenerateRequest request_;
  std::exception_ptr error_;
};

py::list generate_batch(const LanguageModel& self, const py::list& requests,
                        const WholeNumber& max_memory_bytes, const py::object& progress) {
  const core::BatchOptions options{max_memory_bytes.value("max_memory_bytes")};
  std::vector<std::unique_ptr<BatchedRequest>> held;
  std::vector<GenerateRequest> batch;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const auto parts = requests[i].cast<py::tuple>();
    held.push_back(std::make_unique<BatchedRequest>(
        std::string(utf8_of(parts[0], "requests[" + std::to_string(i) + "]")),
        parts[1].cast<GenerateOptions>(), parts[2].cast<py::object>()));
    batch.push_back(held.back()->take_request());
  }
  auto results = run_watched(progress, [&](const core::ProgressCallback& callback) {
    return self.generate_batch(batch, options, callback);
  });
  py::list out;
  for (std::size_t i = 0; i < results.size(); ++i)
    out.append(held[i]->outcome(std::move(results[i])));
  return out;
}

// What collegium.lm.RoutingOptions, or the class of the same name here, says; None: nothing.
core::RoutingOptions routing_of(const py::object& routing) {
  if (routing.is_none()) return {};
  if (py::hasattr(routing, "core")) return routing.attr("core").cast<core::RoutingOptions>();
  try {
    return routing.cast<core::RoutingOptions>();
  } catch (const py::cast_error&) {
    throw py::type_error("routing is " + std::string(Py_TYPE(routing.ptr())->tp_name) +
                         ", expected collegium.lm.RoutingOptions");
  }
}

py::list score(const LanguageModel& self, const py::object& texts, const WholeNumber& window,
               const WholeNumber& stride, bool token_log_probabilities,
               const std::shared_ptr<core::LmLora>& lora, const py::object& routing,
               const py::object& progress) {
  const TextList list(texts, "texts");
  ScoreOptions options;
  options.window = window.value("window");
  options.stride = stride.value("stride");
  options.token_log_probabilities = token_log_probabilities;
  options.lora = lora;
  options.routing = routing_of(routing);
  auto scores = run_watched(progress, [&](const core::ProgressCallback& callback) {
    return self.score(list.views(), options, callback);
  });
  py::list out;
  for (Score& one : scores) out.append(py::cast(std::move(one)));
  return out;
}

// collegium.lm.LanguageModel, or the class of the same name here; None: none.
std::shared_ptr<const LanguageModel> draft_of(const py::object& draft) {
  if (draft.is_none()) return nullptr;
  const py::object core = py::hasattr(draft, "_core") ? draft.attr("_core") : draft;
  try {
    return core.cast<std::shared_ptr<LanguageModel>>();
  } catch (const py::cast_error&) {
    throw py::type_error("draft is " + std::string(Py_TYPE(draft.ptr())->tp_name) +
                         ", expected collegium.lm.LanguageModel");
  }
}

GenerateOptions generate_options(
    const WholeNumber& max_new_tokens, bool add_special_tokens, bool enable_thinking,
    float temperature, const WholeNumber& top_k, float top_p, float min_p, float typical_p,
    float repetition_penalty, float presence_penalty, float frequency_penalty,
    const WholeNumber& seed, const std::vector<Utf8>& stop, std::vector<std::int32_t> stop_ids,
    bool log_probabilities, const WholeNumber& alternatives, const WholeNumber& prompt_lookup,
    const py::object& draft, const WholeNumber& draft_tokens,
    const std::shared_ptr<core::LmLora>& lora, const py::object& routing, bool trace,
    const WholeNumber& max_memory_bytes) {
  GenerateOptions options;
  options.max_new_tokens = max_new_tokens.value("max_new_tokens");
  options.add_special_tokens = add_special_tokens;
  options.enable_thinking = enable_thinking;
  options.temperature = temperature;
  options.top_k = top_k.value("top_k");
  options.top_p = top_p;
  options.min_p = min_p;
  options.typical_p = typical_p;
  options.repetition_penalty = repetition_penalty;
  options.presence_penalty = presence_penalty;
  options.frequency_penalty = frequency_penalty;
  options.seed = seed.value("seed");
  options.stop.assign(stop.begin(), stop.end());
  options.stop_ids = std::move(stop_ids);
  options.log_probabilities = log_probabilities;
  options.alternatives = alternatives.value("alternatives");
  options.prompt_lookup = prompt_lookup.value("prompt_lookup");
  options.draft = draft_of(draft);
  options.draft_tokens = draft_tokens.value("draft_tokens");
  options.lora = lora;
  options.routing = routing_of(routing);
  options.trace = trace;
  options.max_memory_bytes = max_memory_bytes.value("max_memory_bytes");
  unwrap(options.validate());
  return options;
}

void bind_options(py::module_& m) {
  const GenerateOptions defaults;
  py::class_<GenerateOptions>(m, "GenerateOptions")
      .def(py::init(&generate_options), py::kw_only(),
           py::arg("max_new_tokens") = defaults.max_new_tokens,
           py::arg("add_special_tokens") = defaults.add_special_tokens,
           py::arg("enable_thinking") = defaults.enable_thinking,
           py::arg("temperature") = defaults.temperature, py::arg("top_k") = defaults.top_k,
           py::arg("top_p") = defaults.top_p, py::arg("min_p") = defaults.min_p,
           py::arg("typical_p") = defaults.typical_p,
           py::arg("repetition_penalty") = defaults.repetition_penalty,
           py::arg("presence_penalty") = defaults.presence_penalty,
           py::arg("frequency_penalty") = defaults.frequency_penalty,
           py::arg("seed") = defaults.seed, py::arg("stop") = py::tuple(),
           py::arg("stop_ids") = py::tuple(),
           py::arg("log_probabilities") = defaults.log_probabilities,
           py::arg("alternatives") = defaults.alternatives,
           py::arg("prompt_lookup") = defaults.prompt_lookup, py::arg("draft") = py::none(),
           py::arg("draft_tokens") = defaults.draft_tokens, py::arg("lora") = py::none(),
           py::arg("routing") = py::none(), py::arg("trace") = defaults.trace,
           py::arg("max_memory_bytes") = defaults.max_memory_bytes)
      .def_readonly("max_new_tokens", &GenerateOptions::max_new_tokens)
      .def_readonly("add_special_tokens", &GenerateOptions::add_special_tokens)
      .def_readonly("enable_thinking", &GenerateOptions::enable_thinking)
      .def_readonly("temperature", &GenerateOptions::temperature)
      .def_readonly("top_k", &GenerateOptions::top_k)
      .def_readonly("top_p", &GenerateOptions::top_p)
      .def_readonly("min_p", &GenerateOptions::min_p)
      .def_readonly("typical_p", &GenerateOptions::typical_p)
      .def_readonly("repetition_penalty", &GenerateOptions::repetition_penalty)
      .def_readonly("presence_penalty", &GenerateOptions::presence_penalty)
      .def_readonly("frequency_penalty", &GenerateOptions::frequency_penalty)
      .def_readonly("seed", &GenerateOptions::seed)
      .def_readonly("stop", &GenerateOptions::stop)
      .def_readonly("stop_ids", &GenerateOptions::stop_ids)
      .def_readonly("log_probabilities", &GenerateOptions::log_probabilities)
      .def_readonly("alternatives", &GenerateOptions::alternatives)
      .def_readonly("prompt_lookup", &GenerateOptions::prompt_lookup)
      .def_property_readonly("draft",
                             [](const GenerateOptions& self) {
                               return std::const_pointer_cast<LanguageModel>(self.draft);
                             })
      .def_readonly("draft_tokens", &GenerateOptions::draft_tokens)
      .def_property_readonly("lora",
                             [](const GenerateOptions& self) {
                               return std::const_pointer_cast<core::LmLora>(self.lora);
                             })
      .def_readonly("routing", &GenerateOptions::routing)
      .def_readonly("trace", &GenerateOptions::trace)
      .def_readonly("max_memory_bytes", &GenerateOptions::max_memory_bytes);
}

void bind_results(py::module_& m) {
  py::class_<Generation>(m, "Generation")
      .def_readonly("text", &Generation::text)
      .def_readonly("ids", &Generation::ids)
      .def_readonly("prompt_tokens", &Generation::prompt_tokens)
      .def_readonly("shared_tokens", &Generation::shared_tokens)
      .def_readonly("guessed_tokens", &Generation::guessed_tokens)
      .def_readonly("accepted_tokens", &Generation::accepted_tokens)
      .def_property_readonly("finish_reason",
                             [](const Generation& self) {
                               const auto name = core::finish_reason_name(self.finish_reason);
                               return py::str(name.data(), name.size());
                             })
      .def_property_readonly("stopped", &Generation::stopped)
      .def_readonly("stop", &Generation::stop)
      .def_property_readonly("log_probabilities",
                             [](const Generation& self) {
                               const auto size =
                                   static_cast<py::ssize_t>(self.log_probabilities.size());
                               return to_array(self.log_probabilities, {size});
                             })
      .def_property_readonly("alternatives",
                             [](const Generation& self) {
                               py::list out;
                               for (const auto& tokens : self.alternatives) {
                                 py::list place;
                                 for (const auto& token : tokens)
                                   place.append(py::make_tuple(token.id, token.log_probability));
                                 out.append(place);
                               }
                               return out;
                             })
      .def_property_readonly("trace",
                             [](const Generation& self) {
                               return std::const_pointer_cast<core::TokenTrace>(self.trace);
                             })
      .def_readonly("routing", &Generation::routing)
      .def_readonly("flops", &Generation::flops)
      .def("__str__", [](const Generation& self) { return self.text; })
      .def("_repr_html_", [](const py::object& self) { return draw("generation_html", self); });

  py::class_<Score>(m, "Score")
      .def_readonly("log_probability", &Score::log_probability)
      .def_readonly("tokens", &Score::tokens)
      .def_readonly("windows", &Score::windows)
      .def_property_readonly("mean_log_probability", &Score::mean_log_probability)
      .def_property_readonly("perplexity", &Score::perplexity)
      .def_readonly("ids", &Score::ids)
      .def_property_readonly("log_probabilities", [](const Score& self) {
        const auto size = static_cast<py::ssize_t>(self.log_probabilities.size());
        return to_array(self.log_probabilities, {size});
      });
  m.def(
      "sum_scores", [](const std::vector<Score>& scores) { return core::sum_scores(scores); },
      py::arg("scores"));
}

}  // namespace

void bind_lm(py::module_& m) {
  py::class_<core::LmLora, std::shared_ptr<core::LmLora>>(m, "LmLora")
      .def_property_readonly("rank", &core::LmLora::rank)
      .def_property_readonly("modules", &core::LmLora::modules)
      .def_property_readonly("base_digest", &core::LmLora::base_digest);
  bind_options(m);
  bind_results(m);
  py::class_<LanguageModel, std::shared_ptr<LanguageModel>>(m, "LanguageModel")
      .def_static(
          "load",
          [](const std::filesystem::path& path, Utf8 compute, Utf8 weights, Utf8 kv_cache,
             const std::optional<std::filesystem::path>& packed) {
            core::LanguageModelOptions options;
            options.compute = unwrap(core::parse_lm_compute(compute.view));
            options.weights = unwrap(core::parse_lm_weights(weights.view));
            options.kv_cache = unwrap(core::parse_kv_cache_type(kv_cache.view));
            if (packed) options.packed = packed->string();
            return std::const_pointer_cast<LanguageModel>(
                run_released([&] { return LanguageModel::load(path.string(), options); }));
          },
          py::arg("path"), py::arg("compute") = "exact", py::arg("weights") = "stored",
          py::arg("kv_cache") = "fp32", py::arg("packed") = py::none())
      .def(
          "save_packed",
          [](const LanguageModel& self, const std::filesystem::path& path) {
            run_released([&] { return self.save_packed(path.string()); });
          },
          py::arg("path"))
      .def_property_readonly("kv_cache",
                             [](const LanguageModel& self) {
                               return std::string(core::kv_cache_type_name(self.kv_cache()));
                             })
      .def_property_readonly("compute",
                             [](const LanguageModel& self) {
                               return std::string(core::lm_compute_name(self.compute()));
                             })
      .def_property_readonly("packed_bytes", &LanguageModel::packed_bytes)
      .def_property_readonly("tokenizer", &LanguageModel::tokenizer,
                             py::return_value_policy::reference_internal)
      .def_property_readonly("context_length", &LanguageModel::context_length)
      .def_property_readonly("digest", &LanguageModel::digest)
      .def(
          "generation_bytes",
          [](const LanguageModel& self, const WholeNumber& tokens) {
            return self.generation_bytes(tokens.value("tokens"));
          },
          py::arg("tokens"))
      .def(
          "load_lora",
          [](const LanguageModel& self, const std::filesystem::path& folder) {
            return std::const_pointer_cast<core::LmLora>(
                run_released([&] { return self.load_lora(folder.string()); }));
          },
          py::arg("folder"))
      .def(
          "apply_chat_template",
          [](const LanguageModel& self, const Messages& messages, bool enable_thinking) {
            return unwrap(self.apply_chat_template(chat_messages(messages), enable_thinking));
          },
          py::arg("messages"), py::kw_only(), py::arg("enable_thinking") = true)
      .def(
          "generate",
          [](const LanguageModel& self, Utf8 prompt, const GenerateOptions& options,
             const py::object& on_token, const py::object& progress) {
            return run_generation(on_token, progress,
                                  [&](const LanguageModel::TokenCallback& callback,
                                      const core::ProgressCallback& heartbeat) {
                                    return self.generate(prompt.view, options, callback, heartbeat);
                                  });
          },
          py::arg("prompt"), py::kw_only(), py::arg("options"), py::arg("on_token") = py::none(),
          py::arg("progress") = py::none())
      .def("generate_batch", &generate_batch, py::arg("requests"), py::kw_only(),
           py::arg("max_memory_bytes") = 0, py::arg("progress") = py::none())
      .def("score", &score, py::arg("texts"), py::kw_only(), py::arg("window") = 0,
           py::arg("stride") = 0, py::arg("token_log_probabilities") = false,
           py::arg("lora") = py::none(), py::arg("routing") = py::none(),
           py::arg("progress") = py::none())
      .def(
          "logits",
          [](const LanguageModel& self, const std::vector<std::int32_t>& ids) {
            std::vector<float> out = run_watched(
                py::none(),
                [&](const core::ProgressCallback& progress) { return self.logits(ids, progress); });
            const auto n = static_cast<py::ssize_t>(ids.size());
            const auto vocab = n == 0 ? 0 : static_cast<py::ssize_t>(out.size()) / n;
            return to_array(std::move(out), {n, vocab});
          },
          py::arg("ids"));
}

}  // namespace collegium::python
