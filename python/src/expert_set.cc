#include "collegium/core/experts/expert_set.h"

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
#include "embeddings.h"

namespace py = pybind11;

namespace collegium::python {

using core::Encoder;
using core::ExpertSet;
using core::HeadAdapter;
using core::LoraAdapter;

core::TextKind parse_kind(const std::string& kind) {
  if (kind == "query") return core::TextKind::kQuery;
  if (kind == "document") return core::TextKind::kDocument;
  throw StatusError(
      Status::invalid_argument("kind is '" + kind + "', expected 'query' or 'document'"));
}

py::tuple to_tuple(Encoder::Embeddings embeddings, std::vector<py::ssize_t> shape) {
  const auto n = static_cast<py::ssize_t>(embeddings.num_tokens.size());
  std::vector<std::int64_t> num_tokens(embeddings.num_tokens.begin(), embeddings.num_tokens.end());
  py::array_t<bool> truncated(n);
  for (py::ssize_t i = 0; i < n; ++i) truncated.mutable_at(i) = embeddings.truncated[i];
  return py::make_tuple(to_array(std::move(embeddings.vectors), std::move(shape)),
                        to_array(std::move(num_tokens), {n}), truncated);
}

namespace {

std::shared_ptr<LoraAdapter> load_lora(const std::filesystem::path& folder,
                                       const Encoder& encoder) {
  return std::const_pointer_cast<LoraAdapter>(
      run_released([&] { return LoraAdapter::load(folder.string(), encoder); }));
}

using Encode = Result<Encoder::Embeddings> (ExpertSet::*)(std::span<const std::string_view>,
                                                          std::span<const std::string>,
                                                          core::TextKind,
                                                          const core::ProgressCallback&) const;

// Vectors are (texts, dim), or `under` experts (texts, experts, dim).
py::tuple encode_by(Encode method, bool under, const ExpertSet& set, const py::object& texts,
                    const py::object& experts, Utf8 kind, py::object progress) {
  const core::TextKind text_kind = parse_kind(kind);
  const TextList list(texts, "texts");
  const auto names = TextList(experts, "experts").strings();
  Encoder::Embeddings out =
      run_watched(std::move(progress), [&](const core::ProgressCallback& callback) {
        return (set.*method)(list.views(), names, text_kind, callback);
      });
  std::vector<py::ssize_t> shape = {static_cast<py::ssize_t>(list.views().size())};
  if (under) shape.push_back(static_cast<py::ssize_t>(names.size()));
  shape.push_back(static_cast<py::ssize_t>(set.encoder().dim()));
  return to_tuple(std::move(out), std::move(shape));
}

py::tuple encode(const ExpertSet& set, const py::object& texts, const py::object& experts,
                 Utf8 kind, py::object progress) {
  return encode_by(&ExpertSet::encode, false, set, texts, experts, kind, std::move(progress));
}

py::tuple encode_under(const ExpertSet& set, const py::object& texts, const py::object& experts,
                       Utf8 kind, py::object progress) {
  return encode_by(&ExpertSet::encode_under, true, set, texts, experts, kind, std::move(progress));
}

}  // namespace

void bind_expert_set(py::module_& m) {
  py::class_<LoraAdapter, std::shared_ptr<LoraAdapter>>(m, "LoraAdapter")
      .def_static("load", &load_lora, py::arg("folder"), py::arg("encoder"))
      .def_property_readonly("rank", &LoraAdapter::rank)
      .def_property_readonly("modules", &LoraAdapter::modules)
      .def_property_readonly("first_layer", &LoraAdapter::first_layer)
      .def_property_readonly("encoder_digest", &LoraAdapter::encoder_digest)
      .def_property_readonly("digest", &LoraAdapter::digest);

  py::class_<ExpertSet, std::shared_ptr<ExpertSet>>(m, "ExpertSet")
      .def(py::init([](const std::shared_ptr<Encoder>& encoder) {
             return std::make_shared<ExpertSet>(encoder);
           }),
           py::arg("encoder").none(false))
      .def("names", &ExpertSet::names)
      .def(
          "set_lora",
          [](ExpertSet& self, Utf8 name, const std::shared_ptr<LoraAdapter>& lora) {
            unwrap(self.set_lora(name, lora));
          },
          py::arg("name"), py::arg("lora").none(false))
      .def(
          "set_head",
          [](ExpertSet& self, Utf8 name, const HeadAdapter& head) {
            unwrap(self.set_head(name, head));
          },
          py::arg("name"), py::arg("head"))
      .def(
          "set_encoder",
          [](ExpertSet& self, Utf8 name, const std::shared_ptr<Encoder>& encoder) {
            unwrap(self.set_encoder(name, encoder));
          },
          py::arg("name"), py::arg("encoder").none(false))
      .def(
          "remove", [](ExpertSet& self, Utf8 name) { unwrap(self.remove(name)); }, py::arg("name"))
      .def("encode", &encode, py::arg("texts"), py::arg("experts"), py::kw_only(),
           py::arg("kind") = "document", py::arg("progress") = py::none())
      .def("encode_under", &encode_under, py::arg("texts"), py::arg("experts"), py::kw_only(),
           py::arg("kind") = "document", py::arg("progress") = py::none());
}

}  // namespace collegium::python
