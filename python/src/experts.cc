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
#include "collegium/core/experts/encoder.h"
#include "collegium/core/experts/head_adapter.h"
#include "embeddings.h"

namespace py = pybind11;

namespace collegium::python {
namespace {

using core::Encoder;
using core::HeadAdapter;
using core::HeadAdapterOptions;
using core::TrainedHeadAdapter;

using Positives = std::vector<std::vector<std::uint32_t>>;

std::shared_ptr<Encoder> load_encoder(const std::filesystem::path& folder,
                                      const WholeNumber& truncate_dim, Utf8 compute,
                                      const std::vector<WholeNumber>& fp32_layers) {
  core::EncoderOptions options;
  options.truncate_dim = truncate_dim.value("truncate_dim");
  options.compute = unwrap(core::parse_compute(compute.view));
  for (const WholeNumber& layer : fp32_layers) {
    options.fp32_layers.push_back(layer.value("fp32_layers"));
  }
  return std::const_pointer_cast<Encoder>(
      run_released([&] { return Encoder::load(folder.string(), options); }));
}

py::tuple encode(const Encoder& encoder, const py::object& texts, Utf8 kind, py::object progress) {
  const core::TextKind text_kind = parse_kind(kind);
  const TextList list(texts, "texts");
  Encoder::Embeddings out =
      run_watched(std::move(progress), [&](const core::ProgressCallback& callback) {
        return encoder.encode(list.views(), text_kind, callback);
      });
  return to_tuple(std::move(out), {static_cast<py::ssize_t>(list.views().size()),
                                   static_cast<py::ssize_t>(encoder.dim())});
}

py::array_t<float> token_vectors(const Encoder& encoder, Utf8 text, Utf8 kind) {
  const core::TextKind text_kind = parse_kind(kind);
  std::vector<float> out =
      run_released([&] { return encoder.token_vectors(text.view, text_kind); });
  const auto dim = static_cast<py::ssize_t>(encoder.token_dim());
  const auto tokens = static_cast<py::ssize_t>(out.size()) / dim;
  return to_array(std::move(out), {tokens, dim});
}

HeadAdapter create_adapter(const py::array& weight, const py::array& bias) {
  const Matrix w = matrix_of(weight, 0, "weight");
  const Matrix b = matrix_of(py::array(bias.attr("reshape")(1, -1)), w.dim, "bias as (1, dim)");
  return unwrap(HeadAdapter::create(w.dim, {w.values.begin(), w.values.end()},
                                    {b.values.begin(), b.values.end()}));
}

HeadAdapter create_low_rank_adapter(const py::array& down, const py::array& up,
                                    const py::array& bias) {
  const Matrix d = matrix_of(down, 0, "down");
  const Matrix u = matrix_of(up, d.rows, "up");
  const Matrix b = matrix_of(py::array(bias.attr("reshape")(1, -1)), d.dim, "bias as (1, dim)");
  return unwrap(HeadAdapter::create_low_rank(d.dim, d.rows, {d.values.begin(), d.values.end()},
                                             {u.values.begin(), u.values.end()},
                                             {b.values.begin(), b.values.end()}));
}

HeadAdapter merge_adapters(const std::vector<const HeadAdapter*>& adapters,
                           const std::vector<float>& weights) {
  for (const HeadAdapter* adapter : adapters)
    if (adapter == nullptr)
      throw StatusError(Status::invalid_argument("merge: an adapter is None"));
  return unwrap(HeadAdapter::merge(adapters, weights));
}

py::tuple pool_names(const std::vector<core::NegativePool>& pools) {
  py::list names;
  for (core::NegativePool pool : pools) names.append(core::negative_pool_name(pool));
  return names;
}

HeadAdapterOptions head_adapter_options(
    float temperature, const WholeNumber& max_negatives, const WholeNumber& batch_size,
    const WholeNumber& max_epochs, float learning_rate, float identity_decay,
    const WholeNumber& seed, Utf8 loss, const std::vector<WholeNumber>& ranks,
    const std::vector<Utf8>& pools, const WholeNumber& mined_negatives, float false_negative_margin,
    const WholeNumber& enough_dev, const WholeNumber& patience) {
  HeadAdapterOptions options{
      .temperature = temperature,
      .max_negatives = max_negatives.value("max_negatives"),
      .batch_size = batch_size.value("batch_size"),
      .max_epochs = max_epochs.value("max_epochs"),
      .learning_rate = learning_rate,
      .identity_decay = identity_decay,
      .seed = seed.value("seed"),
      .loss = unwrap(core::parse_training_loss(loss.view)),
      .ranks = {},
      .pools = {},
      .mined_negatives = mined_negatives.value("mined_negatives"),
      .false_negative_margin = false_negative_margin,
      .enough_dev = enough_dev.value("enough_dev"),
      .patience = patience.value("patience"),
  };
  for (const WholeNumber& rank : ranks) options.ranks.push_back(rank.value("ranks"));
  for (const Utf8& pool : pools)
    options.pools.push_back(unwrap(core::parse_negative_pool(pool.view)));
  unwrap(options.validate());
  return options;
}

HeadAdapter identity_adapter(const WholeNumber& wanted) {
  const std::uint64_t dim = wanted.value("dim");
  if (dim == 0 || dim > HeadAdapter::kMaxDim) {
    throw StatusError(Status::invalid_argument("adapter: dim " + std::to_string(dim) +
                                               " is not in [1, " +
                                               std::to_string(HeadAdapter::kMaxDim) + "]"));
  }
  return HeadAdapter::identity(dim);
}

// Read-only views into the adapter, which they keep alive.
py::array_t<float> view(const std::vector<float>& values, std::vector<py::ssize_t> shape,
                        const py::object& owner) {
  py::array_t<float> array(std::move(shape), values.data(), owner);
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

py::array_t<float> apply(const HeadAdapter& adapter, const py::array& queries) {
  const Matrix in = matrix_of(queries, adapter.dim(), "queries");
  std::vector<float> out(in.values.size());
  {
    py::gil_scoped_release release;
    for (std::size_t i = 0; i < in.rows; ++i)
      adapter.apply(in.values.data() + i * in.dim, out.data() + i * in.dim);
  }
  return to_array(std::move(out),
                  {static_cast<py::ssize_t>(in.rows), static_cast<py::ssize_t>(in.dim)});
}

TrainedHeadAdapter train(const py::array& passages,
                         const py::array_t<std::uint32_t, py::array::c_style>& row_document,
                         const py::array& train_queries, const Positives& train_positives,
                         const py::array& dev_queries, const Positives& dev_positives,
                         const Positives& hard, const std::vector<std::vector<float>>& teacher,
                         const HeadAdapterOptions& options, py::object progress) {
  const Matrix rows = matrix_of(passages, 0, "passages");
  const Matrix train_matrix = matrix_of(train_queries, rows.dim, "train_queries");
  const Matrix dev_matrix = matrix_of(dev_queries, rows.dim, "dev_queries");
  const std::span<const std::uint32_t> documents(row_document.data(),
                                                 static_cast<std::size_t>(row_document.size()));
  return run_watched(std::move(progress), [&](const core::ProgressCallback& callback) {
    return core::train_head_adapter(rows.values, documents, rows.dim,
                                    {train_matrix.values, train_positives, {}, hard, teacher},
                                    {dev_matrix.values, dev_positives}, options, callback);
  });
}

}  // namespace

void bind_experts(py::module_& m) {
  py::class_<Encoder, std::shared_ptr<Encoder>>(m, "Encoder")
      .def_static("load", &load_encoder, py::arg("folder"), py::kw_only(),
                  py::arg("truncate_dim") = 0, py::arg("compute") = "auto",
                  py::arg("fp32_layers") = py::tuple())
      .def_property_readonly("compute",
                             [](const Encoder& self) { return core::compute_name(self.compute()); })
      .def_property_readonly("dim", &Encoder::dim)
      .def_property_readonly("token_dim", &Encoder::token_dim)
      .def_property_readonly("max_tokens", &Encoder::max_tokens)
      .def_property_readonly("tokenizer", &Encoder::tokenizer,
                             py::return_value_policy::reference_internal)
      .def_property_readonly("digest", &Encoder::digest)
      .def_property_readonly("folder", [](const Encoder& self) { return path_of(self.folder()); })
      .def_property_readonly("files", &Encoder::files)
      .def(
          "convert",
          [](const Encoder& self, const std::filesystem::path& folder) {
            run_released([&] { return self.convert(folder.string()); });
          },
          py::arg("folder"))
      .def(
          "flops",
          [](const Encoder& self, const WholeNumber& tokens) {
            return self.flops(tokens.value("tokens"));
          },
          py::arg("tokens"))
      .def("encode", &encode, py::arg("texts"), py::kw_only(), py::arg("kind") = "document",
           py::arg("progress") = py::none())
      .def("token_vectors", &token_vectors, py::arg("text"), py::kw_only(),
           py::arg("kind") = "document");

  const HeadAdapterOptions defaults;
  py::class_<HeadAdapterOptions>(m, "HeadAdapterOptions")
      .def(py::init(&head_adapter_options), py::kw_only(),
           py::arg("temperature") = defaults.temperature,
           py::arg("max_negatives") = defaults.max_negatives,
           py::arg("batch_size") = defaults.batch_size, py::arg("max_epochs") = defaults.max_epochs,
           py::arg("learning_rate") = defaults.learning_rate,
           py::arg("identity_decay") = defaults.identity_decay, py::arg("seed") = defaults.seed,
           py::arg("loss") = core::training_loss_name(defaults.loss),
           py::arg("ranks") = py::tuple(py::cast(defaults.ranks)),
           py::arg("pools") = pool_names(defaults.pools),
           py::arg("mined_negatives") = defaults.mined_negatives,
           py::arg("false_negative_margin") = defaults.false_negative_margin,
           py::arg("enough_dev") = defaults.enough_dev, py::arg("patience") = defaults.patience)
      .def_readonly("temperature", &HeadAdapterOptions::temperature)
      .def_readonly("max_negatives", &HeadAdapterOptions::max_negatives)
      .def_readonly("batch_size", &HeadAdapterOptions::batch_size)
      .def_readonly("max_epochs", &HeadAdapterOptions::max_epochs)
      .def_readonly("learning_rate", &HeadAdapterOptions::learning_rate)
      .def_readonly("identity_decay", &HeadAdapterOptions::identity_decay)
      .def_readonly("seed", &HeadAdapterOptions::seed)
      .def_property_readonly(
          "loss",
          [](const HeadAdapterOptions& self) { return core::training_loss_name(self.loss); })
      .def_property_readonly(
          "ranks", [](const HeadAdapterOptions& self) { return py::tuple(py::cast(self.ranks)); })
      .def_property_readonly("pools",
                             [](const HeadAdapterOptions& self) { return pool_names(self.pools); })
      .def_readonly("mined_negatives", &HeadAdapterOptions::mined_negatives)
      .def_readonly("false_negative_margin", &HeadAdapterOptions::false_negative_margin)
      .def_readonly("enough_dev", &HeadAdapterOptions::enough_dev)
      .def_readonly("patience", &HeadAdapterOptions::patience);

  py::class_<HeadAdapter>(m, "HeadAdapter")
      .def_static("identity", &identity_adapter, py::arg("dim"))
      .def_static("create", &create_adapter, py::arg("weight"), py::arg("bias"))
      .def_static("create_low_rank", &create_low_rank_adapter, py::arg("down"), py::arg("up"),
                  py::arg("bias"))
      .def_static("merge", &merge_adapters, py::arg("adapters"), py::arg("weights"))
      .def_static(
          "load",
          [](const std::filesystem::path& path) {
            return run_released([&] { return HeadAdapter::load(path.string()); });
          },
          py::arg("path"))
      .def(
          "save",
          [](const HeadAdapter& self, const std::filesystem::path& path) {
            run_released([&] { return self.save(path.string()); });
          },
          py::arg("path"))
      .def_property_readonly("dim", &HeadAdapter::dim)
      .def_property_readonly("rank", &HeadAdapter::rank)
      .def_property_readonly("weight",
                             [](const py::object& self) {
                               const auto& adapter = self.cast<const HeadAdapter&>();
                               const auto dim = static_cast<py::ssize_t>(adapter.dim());
                               py::array_t<float> weight = to_array(adapter.weight(), {dim, dim});
                               weight.attr("setflags")(py::arg("write") = false);
                               return weight;
                             })
      .def_property_readonly("bias",
                             [](const py::object& self) {
                               const auto& adapter = self.cast<const HeadAdapter&>();
                               return view(adapter.bias(),
                                           {static_cast<py::ssize_t>(adapter.dim())}, self);
                             })
      .def("apply", &apply, py::arg("queries"))
      .def("interpolated", &HeadAdapter::interpolated, py::arg("strength"))
      .def_property_readonly("digest", &HeadAdapter::digest);

  py::class_<core::NdcgGain>(m, "NdcgGain")
      .def_readonly("queries", &core::NdcgGain::queries)
      .def_readonly("plain", &core::NdcgGain::plain)
      .def_readonly("adapted", &core::NdcgGain::adapted);

  py::class_<TrainedHeadAdapter>(m, "TrainedHeadAdapter")
      .def_readonly("adapter", &TrainedHeadAdapter::adapter)
      .def_readonly("strength", &TrainedHeadAdapter::strength)
      .def_readonly("epochs", &TrainedHeadAdapter::epochs)
      .def_readonly("dev_ndcg_plain", &TrainedHeadAdapter::dev_ndcg_plain)
      .def_readonly("dev_ndcg", &TrainedHeadAdapter::dev_ndcg)
      .def_readonly("loss", &TrainedHeadAdapter::loss)
      .def_readonly("rank", &TrainedHeadAdapter::rank)
      .def_property_readonly(
          "pool",
          [](const TrainedHeadAdapter& self) { return core::negative_pool_name(self.pool); })
      .def_readonly("curve", &TrainedHeadAdapter::curve)
      .def_readonly("chosen_on", &TrainedHeadAdapter::chosen_on)
      .def_readonly("standard_error", &TrainedHeadAdapter::standard_error)
      .def_readonly("dev_paired", &TrainedHeadAdapter::dev_paired)
      .def_readonly("dev_unpaired", &TrainedHeadAdapter::dev_unpaired);

  m.def("train_head_adapter", &train, py::arg("passages"), py::arg("row_document"),
        py::arg("train_queries"), py::arg("train_positives"), py::arg("dev_queries"),
        py::arg("dev_positives"), py::kw_only(), py::arg("hard") = py::tuple(),
        py::arg("teacher") = py::tuple(), py::arg("options"), py::arg("progress") = py::none());
}

}  // namespace collegium::python
