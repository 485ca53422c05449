// SPDX-License-Identifier: MIT
/// Products of another library, found at run time: MKL or an OpenBLAS.
#pragma once

#include <dlfcn.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "base/types.hpp"

namespace schuss {

/// One library with CBLAS's products, under its own names or those of SciPy's bundle.
class BlasPeer {
 public:
  /// Throws std::runtime_error when the library or its functions cannot be found.
  BlasPeer(std::string name, const std::string& path) : name_(std::move(name)) {
    // Never closed: worker threads of these libraries outlive main.
    handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ == nullptr) throw std::runtime_error(name_ + ": " + dlerror());
    sgemm_ = reinterpret_cast<Gemm<float>>(find("cblas_sgemm", "scipy_cblas_sgemm"));
    dgemm_ = reinterpret_cast<Gemm<double>>(find("cblas_dgemm", "scipy_cblas_dgemm"));
    threads_ = reinterpret_cast<void (*)(int)>(
        find("MKL_Set_Num_Threads", "openblas_set_num_threads", "scipy_openblas_set_num_threads"));
    if (sgemm_ == nullptr || dgemm_ == nullptr || threads_ == nullptr) {
      throw std::runtime_error(name_ + ": " + path +
                               " has no cblas_sgemm with 32-bit integers, or no thread control");
    }
  }

  const std::string& name() const { return name_; }
  void set_threads(int n) const { threads_(n); }

  /// c[m,n] = op(a) op(b), row-major; op transposes where asked.
  template <class T>
  void multiply(bool transpose_a, bool transpose_b, index_t m, index_t n, index_t k, const T* a,
                index_t lda, const T* b, index_t ldb, T* c, index_t ldc) const {
    constexpr int kRowMajor = 101;
    constexpr int kAsIs = 111;
    constexpr int kTransposed = 112;
    gemm<T>()(kRowMajor, transpose_a ? kTransposed : kAsIs, transpose_b ? kTransposed : kAsIs,
              static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), T(1), a,
              static_cast<int>(lda), b, static_cast<int>(ldb), T(0), c, static_cast<int>(ldc));
  }

 private:
  template <class T>
  using Gemm = void (*)(int order, int transpose_a, int transpose_b, int m, int n, int k, T alpha,
                        const T* a, int lda, const T* b, int ldb, T beta, T* c, int ldc);

  template <class T>
  Gemm<T> gemm() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return sgemm_;
    } else {
      return dgemm_;
    }
  }

  template <class... Names>
  void* find(Names... names) const {
    void* found = nullptr;
    ((found = found != nullptr ? found : dlsym(handle_, names)), ...);
    return found;
  }

  std::string name_;
  void* handle_ = nullptr;
  Gemm<float> sgemm_ = nullptr;
  Gemm<double> dgemm_ = nullptr;
  void (*threads_)(int) = nullptr;
};

}  // namespace schuss
