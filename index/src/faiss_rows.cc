#include "faiss_rows.h"

#include <faiss/impl/DistanceComputer.h>
#include <faiss/impl/FaissAssert.h>

#include <algorithm>

#include "scan_kernels.h"

namespace collegium::index {
namespace {

class Product : public faiss::DistanceComputer {
 public:
  Product(const FaissRows& rows, float sign)
      : rows_(rows.vectors.data()),
        dim_(static_cast<std::size_t>(rows.d)),
        sign_(sign),
        product_(scan_kernels().product) {}
  void set_query(const float* x) override { query_ = x; }
  float operator()(idx_t i) override { return sign_ * product_(row(i), query_, dim_); }
  float symmetric_dis(idx_t i, idx_t j) override { return sign_ * product_(row(i), row(j), dim_); }

 private:
  const float* row(idx_t i) const { return rows_ + static_cast<std::size_t>(i) * dim_; }

  const float* rows_;
  std::size_t dim_;
  float sign_;
  decltype(ScanKernels::product) product_;
  const float* query_ = nullptr;
};

}  // namespace

void FaissRows::add(idx_t n, const float* x) {
  vectors.insert(vectors.end(), x, x + n * d);
  ntotal += n;
}

void FaissRows::reset() {
  vectors.clear();
  ntotal = 0;
}

void FaissRows::reconstruct(idx_t key, float* out) const {
  std::copy_n(vectors.data() + key * d, d, out);
}

void FaissRows::search(idx_t, const float*, idx_t, float*, idx_t*,
                       const faiss::SearchParameters*) const {
  FAISS_THROW_MSG("rows are searched by scans");
}

faiss::DistanceComputer* FaissRows::get_distance_computer() const {
  return new Product(*this, 1.0f);
}

std::unique_ptr<faiss::DistanceComputer> negated_product(const FaissRows& rows) {
  return std::make_unique<Product>(rows, -1.0f);
}

}  // namespace collegium::index
