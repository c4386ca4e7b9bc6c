#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "bind.h"
#include "calls.h"
#include "collegium/core/isa.h"
#include "collegium/core/text/passages.h"
#include "collegium/core/text/tokenizer.h"
#include "collegium/core/thread_pool.h"

namespace py = pybind11;

namespace collegium::python {
namespace {

using core::Encoding;
using core::PassageSpan;
using core::Tokenizer;
using Span = std::pair<std::size_t, std::size_t>;

std::shared_ptr<Tokenizer> shared(std::shared_ptr<const Tokenizer> tokenizer) {
  return std::const_pointer_cast<Tokenizer>(std::move(tokenizer));  // bound with const methods only
}

Encoding encode(const Tokenizer& tokenizer, Utf8 text, bool add_special_tokens,
                const WholeNumber& max_tokens) {
  const core::EncodeOptions options{add_special_tokens, max_tokens.value("max_tokens")};
  return run_released([&] { return tokenizer.encode(text.view, options); });
}

Encoding encode_pair(const Tokenizer& tokenizer, Utf8 first, Utf8 second, bool add_special_tokens,
                     const WholeNumber& max_tokens) {
  const core::EncodeOptions options{add_special_tokens, max_tokens.value("max_tokens")};
  return run_released([&] { return tokenizer.encode_pair(first.view, second.view, options); });
}

std::vector<Span> pairs_of(const std::vector<core::ByteSpan>& spans) {
  std::vector<Span> pairs;
  pairs.reserve(spans.size());
  for (const core::ByteSpan& span : spans) pairs.emplace_back(span.begin, span.end);
  return pairs;
}

}  // namespace

void bind_core(py::module_& m) {
  m.def("isa", [] { return std::string(core::isa_name(core::active_isa())); });
  m.def("available_isas", [] {
    std::vector<std::string> names;
    for (core::Isa isa : core::available_isas()) names.emplace_back(core::isa_name(isa));
    return names;
  });
  m.def("num_threads", [] { return core::default_pool().num_threads(); });
  m.def(
      "set_num_threads",
      [](const WholeNumber& num_threads) {
        const std::size_t wanted = num_threads.value("num_threads");
        py::gil_scoped_release release;
        core::set_num_threads(wanted);
      },
      py::arg("num_threads"));

  py::class_<Encoding>(m, "Encoding")
      .def_readonly("ids", &Encoding::ids)
      .def_property_readonly("offsets", [](const Encoding& self) { return pairs_of(self.offsets); })
      .def_readonly("type_ids", &Encoding::type_ids)
      .def_readonly("truncated", &Encoding::truncated)
      .def("__len__", [](const Encoding& self) { return self.ids.size(); });

  py::class_<Tokenizer, std::shared_ptr<Tokenizer>>(m, "Tokenizer")
      .def("encode", &encode, py::arg("text"), py::kw_only(), py::arg("add_special_tokens") = true,
           py::arg("max_tokens") = 0)
      .def("encode_pair", &encode_pair, py::arg("first"), py::arg("second"), py::kw_only(),
           py::arg("add_special_tokens") = true, py::arg("max_tokens") = 0)
      .def(
          "decode",
          [](const Tokenizer& self, const std::vector<std::int32_t>& ids,
             bool skip_special_tokens) {
            return py::str(run_released([&] { return self.decode(ids, skip_special_tokens); }));
          },
          py::arg("ids"), py::kw_only(), py::arg("skip_special_tokens") = true)
      .def_property_readonly("vocab_size", &Tokenizer::vocab_size)
      .def(
          "token_id",
          [](const Tokenizer& self, Utf8 token) -> std::optional<std::int32_t> {
            const std::int32_t id = self.token_id(token.view);
            return id < 0 ? std::nullopt : std::optional(id);
          },
          py::arg("token"))
      .def(
          "token",
          [](const Tokenizer& self, std::int32_t id) {
            // A byte-level token may be half a character.
            const std::string_view token = self.token(id);
            return py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(
                token.data(), static_cast<Py_ssize_t>(token.size()), "backslashreplace"));
          },
          py::arg("id"))
      .def_property_readonly("digest", &Tokenizer::digest);

  m.def(
      "load_tokenizer",
      [](const std::filesystem::path& folder) {
        return shared(
            run_released([&] { return core::load_tokenizer(folder.string()); }).tokenizer);
      },
      py::arg("folder"));
  m.def(
      "load_tokenizer_json",
      [](const std::filesystem::path& path) {
        return shared(run_released([&] { return core::load_tokenizer_json(path.string()); }));
      },
      py::arg("path"));
  m.def(
      "load_wordpiece",
      [](const std::filesystem::path& folder) {
        return shared(run_released([&] { return core::load_wordpiece(folder.string()); }));
      },
      py::arg("folder"));
  m.def(
      "load_sentencepiece",
      [](const std::filesystem::path& path) {
        return shared(run_released([&] { return core::load_sentencepiece(path.string()); }));
      },
      py::arg("path"));
  m.def(
      "load_byte_level_bpe",
      [](const std::filesystem::path& gguf_path) {
        return shared(run_released([&] { return core::load_byte_level_bpe(gguf_path.string()); }));
      },
      py::arg("gguf_path"));

  py::class_<PassageSpan>(m, "PassageSpan")
      .def_property_readonly(
          "bytes", [](const PassageSpan& self) { return Span(self.bytes.begin, self.bytes.end); })
      .def_readonly("section", &PassageSpan::section);
  m.def(
      "split_passages",
      [](Utf8 title, Utf8 text, const Tokenizer& tokenizer, const WholeNumber& max_tokens) {
        const core::PassageOptions options{max_tokens.value("max_tokens")};
        return run_released(
            [&] { return core::split_passages(title.view, text.view, tokenizer, options); });
      },
      py::arg("title"), py::arg("text"), py::arg("tokenizer"), py::kw_only(),
      py::arg("max_tokens") = core::PassageOptions{}.max_tokens);
  m.def(
      "split_sentences",
      [](Utf8 text) {
        py::gil_scoped_release release;
        return pairs_of(core::split_sentences(text.view));
      },
      py::arg("text"));
}

}  // namespace collegium::python
