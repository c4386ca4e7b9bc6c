#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "bind.h"
#include "calls.h"
#include "collegium/core/lm/language_model.h"

namespace py = pybind11;

namespace collegium::python {
namespace {

using core::ChatMessage;
using core::GenerateOptions;
using core::Generation;
using core::LanguageModel;
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
Generation run_generation(const py::object& on_token, Work&& work) {
  Watch watch{py::none()};
  auto result = [&] {
    py::gil_scoped_release release;
    return work([&](std::string_view piece) { return watch.on_token(on_token, piece); },
                watch.progress());
  }();
  watch.rethrow();
  return unwrap(std::move(result));
}

}  // namespace

void bind_lm(py::module_& m) {
  const GenerateOptions defaults;
  py::class_<GenerateOptions>(m, "GenerateOptions")
      .def(py::init([](const WholeNumber& max_new_tokens, float temperature,
                       const WholeNumber& top_k, float top_p, const WholeNumber& seed) {
             GenerateOptions options{max_new_tokens.value("max_new_tokens"), temperature,
                                     top_k.value("top_k"), top_p, seed.value("seed")};
             unwrap(options.validate());
             return options;
           }),
           py::kw_only(), py::arg("max_new_tokens") = defaults.max_new_tokens,
           py::arg("temperature") = defaults.temperature, py::arg("top_k") = defaults.top_k,
           py::arg("top_p") = defaults.top_p, py::arg("seed") = defaults.seed)
      .def_readonly("max_new_tokens", &GenerateOptions::max_new_tokens)
      .def_readonly("temperature", &GenerateOptions::temperature)
      .def_readonly("top_k", &GenerateOptions::top_k)
      .def_readonly("top_p", &GenerateOptions::top_p)
      .def_readonly("seed", &GenerateOptions::seed);

  py::class_<Generation>(m, "Generation")
      .def_readonly("text", &Generation::text)
      .def_readonly("ids", &Generation::ids)
      .def_readonly("prompt_tokens", &Generation::prompt_tokens)
      .def_readonly("stopped", &Generation::stopped)
      .def_readonly("flops", &Generation::flops);

  py::class_<LanguageModel, std::shared_ptr<LanguageModel>>(m, "LanguageModel")
      .def_static(
          "load",
          [](const std::filesystem::path& gguf_path) {
            return std::const_pointer_cast<LanguageModel>(
                run_released([&] { return LanguageModel::load(gguf_path.string()); }));
          },
          py::arg("gguf_path"))
      .def_property_readonly("tokenizer", &LanguageModel::tokenizer,
                             py::return_value_policy::reference_internal)
      .def_property_readonly("context_length", &LanguageModel::context_length)
      .def_property_readonly("digest", &LanguageModel::digest)
      .def(
          "apply_chat_template",
          [](const LanguageModel& self, const Messages& messages) {
            return unwrap(self.apply_chat_template(chat_messages(messages)));
          },
          py::arg("messages"))
      .def(
          "generate",
          [](const LanguageModel& self, Utf8 prompt, const GenerateOptions& options,
             const py::object& on_token) {
            return run_generation(on_token, [&](const LanguageModel::TokenCallback& callback,
                                                const core::ProgressCallback& progress) {
              return self.generate(prompt.view, options, callback, progress);
            });
          },
          py::arg("prompt"), py::kw_only(), py::arg("options"), py::arg("on_token") = py::none())
      .def(
          "chat",
          [](const LanguageModel& self, const Messages& messages, const GenerateOptions& options,
             const py::object& on_token) {
            const std::vector<ChatMessage> chat = chat_messages(messages);
            return run_generation(on_token, [&](const LanguageModel::TokenCallback& callback,
                                                const core::ProgressCallback& progress) {
              return self.chat(chat, options, callback, progress);
            });
          },
          py::arg("messages"), py::kw_only(), py::arg("options"), py::arg("on_token") = py::none())
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
