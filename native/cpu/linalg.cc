// svd, eigh, qr and expm of float32 matrices, batched, in double with Eigen; and the gradients of the first
// three, which decompose again in double rather than divide by differences of rounded values. Signs are
// fixed, so that results repeat: of each singular or eigenvector the largest component is positive (of nearly
// equal ones the first), and R's diagonal is not negative.
#define EIGEN_DONT_PARALLELIZE  // the team shares out the batch
#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <Eigen/SVD>
#include <cmath>
#include <unsupported/Eigen/MatrixFunctions>

#include "kernel.h"
#include "team.h"

namespace attn::cpu {
namespace {

using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;
using Stored = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr double kTie = 1e-6;      // components this close in size, relative to the largest, count as equal
constexpr double kSame = 1e-12;    // values this close, relative to the largest, count as equal
constexpr int64_t kGrain = 20000;  // multiply-adds that are worth a thread

struct Frame {
  int64_t batch, m, n;
  int64_t k() const { return std::min(m, n); }
};

Matrix load(const void* from, int64_t index, int64_t rows, int64_t columns) {
  const float* at = static_cast<const float*>(from) + index * rows * columns;
  return Eigen::Map<const Stored>(at, rows, columns).cast<double>();
}

void store(const Matrix& x, void* to, int64_t index) {
  float* at = static_cast<float*>(to) + index * x.size();
  Eigen::Map<Stored>(at, x.rows(), x.cols()) = x.cast<float>();
}

void demand_finite(const Matrix& x, int64_t index) {
  if (!x.allFinite())
    throw Error("ATTN_ARGUMENT", "matrix " + std::to_string(index) + " of the batch holds NaN or an infinity",
                "find the op that made it: read its operands");
}

[[noreturn]] void no_convergence(int64_t index) {
  throw Error("ATTN_ARGUMENT",
              "the iteration did not converge for matrix " + std::to_string(index) + " of the batch",
              "scale the matrix to a common size");
}

[[noreturn]] void no_gradient(const char* why, int64_t index) {
  throw Error("ATTN_ARGUMENT", "no gradient for matrix " + std::to_string(index) + " of the batch: " + why,
              "perturb the matrix, or let the loss depend on less of its decomposition");
}

// The sign that makes the largest component of v positive.
double sign_of(const Eigen::Ref<const Vector>& v) {
  const double largest = v.cwiseAbs().maxCoeff();
  for (const double x : v)
    if (std::abs(x) >= (1 - kTie) * largest) return x < 0 ? -1 : 1;
  return 1;
}

// ------------------------------------------------------------------------------------------ decompositions

struct Svd {
  Matrix u, v;  // [m, k], [n, k]
  Vector s;     // descending
};

Svd svd_of(const Matrix& a, int64_t index) {
  demand_finite(a, index);
  if (a.size() == 0) return {Matrix(a.rows(), 0), Matrix(a.cols(), 0), Vector(0)};
  const Eigen::BDCSVD<Matrix> of(a, Eigen::ComputeThinU | Eigen::ComputeThinV);
  if (of.info() != Eigen::Success) no_convergence(index);
  Svd d{of.matrixU(), of.matrixV(), of.singularValues()};
  for (Eigen::Index i = 0; i < d.s.size(); i++) {
    const double sign = sign_of(d.u.col(i));
    d.u.col(i) *= sign;
    d.v.col(i) *= sign;
  }
  return d;
}

struct Eigh {
  Vector values;  // ascending
  Matrix vectors;
};

Eigh eigh_of(const Matrix& a, int64_t index) {
  demand_finite(a, index);
  if (a.size() == 0) return {Vector(0), a};
  const Eigen::SelfAdjointEigenSolver<Matrix> of((a + a.transpose()) / 2);
  if (of.info() != Eigen::Success) no_convergence(index);
  Eigh d{of.eigenvalues(), of.eigenvectors()};
  for (Eigen::Index i = 0; i < d.values.size(); i++) d.vectors.col(i) *= sign_of(d.vectors.col(i));
  return d;
}

struct Qr {
  Matrix q, r;  // [m, k], [k, n]
};

Qr qr_of(const Matrix& a, int64_t index) {
  demand_finite(a, index);
  const Eigen::Index k = std::min(a.rows(), a.cols());
  if (k == 0) return {Matrix(a.rows(), 0), Matrix(0, a.cols())};
  const Eigen::HouseholderQR<Matrix> of(a);
  Qr d{of.householderQ() * Matrix::Identity(a.rows(), k),
       Matrix(of.matrixQR().topRows(k).triangularView<Eigen::Upper>())};
  for (Eigen::Index i = 0; i < k; i++)
    if (d.r(i, i) < 0) {
      d.q.col(i) *= -1;
      d.r.row(i) *= -1;
    }
  return d;
}

// ------------------------------------------------------------------------------------------ gradients

// numerator(i, j) / (values[j] - values[i]) off the diagonal; where values coincide, 0 if the numerator is.
Matrix over_differences(const Matrix& numerator, const Vector& values, const char* why, int64_t index) {
  Matrix out = Matrix::Zero(values.size(), values.size());
  if (values.size() == 0) return out;
  const double same = kSame * values.cwiseAbs().maxCoeff(), nothing = kSame * numerator.cwiseAbs().maxCoeff();
  for (Eigen::Index j = 0; j < values.size(); j++)
    for (Eigen::Index i = 0; i < values.size(); i++) {
      const double difference = values[j] - values[i];
      if (i == j || std::abs(numerator(i, j)) <= nothing) continue;
      if (std::abs(difference) <= same) no_gradient(why, index);
      out(i, j) = numerator(i, j) / difference;
    }
  return out;
}

// A = V diag(w) Vᵀ: dA = V (diag(dw) + (VᵀdV - dVᵀV) / (2 (w_j - w_i))) Vᵀ
Matrix eigh_backward(const Matrix& a, const Matrix& values, const Matrix& vectors, int64_t index) {
  const Eigh d = eigh_of(a, index);
  const Matrix turn = d.vectors.transpose() * vectors;
  Matrix inner = over_differences((turn - turn.transpose()) / 2, d.values, "eigenvalues coincide", index);
  inner.diagonal() += values;
  return d.vectors * inner * d.vectors.transpose();
}

// A = U S Vᵀ, with E_ij = s_j² - s_i²:
// dA = U ((UᵀdU - dUᵀU) / E S + S (VᵀdV - dVᵀV) / E + dS) Vᵀ + (1 - UUᵀ) dU S⁻¹ Vᵀ + U S⁻¹ dVᵀ (1 - VVᵀ)
Matrix svd_backward(const Matrix& a, const Matrix& gu, const Matrix& gs, const Matrix& gvt, int64_t index) {
  const auto [u, v, s] = svd_of(a, index);
  const Matrix gv = gvt.transpose(), turn_u = u.transpose() * gu, turn_v = v.transpose() * gv;
  const Vector squares = s.cwiseAbs2();
  const char* why = "singular values coincide";
  Matrix inner = over_differences(turn_u - turn_u.transpose(), squares, why, index) * s.asDiagonal() +
                 s.asDiagonal() * over_differences(turn_v - turn_v.transpose(), squares, why, index);
  inner.diagonal() += gs;
  Matrix out = u * inner * v.transpose();
  const bool tall = a.rows() > a.cols() && !gu.isZero(0), wide = a.rows() < a.cols() && !gv.isZero(0);
  if (s.size() > 0 && (tall || wide)) {
    if (s.minCoeff() <= kSame * s.maxCoeff()) no_gradient("a singular value is 0", index);
    const Vector inverse = s.cwiseInverse();
    if (tall) out += (gu - u * turn_u) * inverse.asDiagonal() * v.transpose();
    if (wide) out += u * inverse.asDiagonal() * (gv - v * turn_v).transpose();
  }
  return out;
}

// A = Q R, m >= n, with M = R dRᵀ - dQᵀ Q: dA = (dQ + Q (tril(M) + tril(M, -1)ᵀ)) R⁻ᵀ
Matrix qr_backward(const Matrix& a, const Matrix& gq, const Matrix& gr, int64_t index) {
  const auto [q, r] = qr_of(a, index);
  if (r.size() == 0) return Matrix::Zero(a.rows(), a.cols());
  const Vector diagonal = r.diagonal();
  if (diagonal.minCoeff() <= kSame * diagonal.maxCoeff()) no_gradient("its columns are dependent", index);
  const Matrix m = r * gr.triangularView<Eigen::Upper>().toDenseMatrix().transpose() - gq.transpose() * q;
  Matrix both = m.triangularView<Eigen::Lower>();
  both += Matrix(m.triangularView<Eigen::StrictlyLower>()).transpose();
  const Matrix right = gq + q * both;
  // X Rᵀ = right
  return r.triangularView<Eigen::Upper>().solve(right.transpose()).transpose();
}

// ------------------------------------------------------------------------------------------ kernels

// fn(frame, operands, index of a matrix in the batch), shared out over the team.
template <class F>
Kernel each_matrix(Attrs& attrs, F fn) {
  const Frame f{attrs.i(), attrs.i(), attrs.i()};
  const int64_t work = 10 * f.m * f.n * f.k() + 1;
  return [=](const Operands& args) {
    parallel_for(f.batch, std::max<int64_t>(1, kGrain / work), [&](int64_t begin, int64_t end) {
      for (int64_t z = begin; z < end; z++) fn(f, args, z);
    });
  };
}

Kernel make_svd(Attrs& attrs) {
  return each_matrix(attrs, [](const Frame& f, const Operands& args, int64_t z) {
    const auto [u, v, s] = svd_of(load(args.in[0], z, f.m, f.n), z);
    store(u, args.out[0], z);
    store(s, args.out[1], z);
    store(v.transpose(), args.out[2], z);
  });
}

Kernel make_svd_backward(Attrs& attrs) {
  return each_matrix(attrs, [](const Frame& f, const Operands& args, int64_t z) {
    const int64_t k = f.k();
    store(svd_backward(load(args.in[0], z, f.m, f.n), load(args.in[1], z, f.m, k), load(args.in[2], z, k, 1),
                       load(args.in[3], z, k, f.n), z),
          args.out[0], z);
  });
}

Kernel make_eigh(Attrs& attrs) {
  return each_matrix(attrs, [](const Frame& f, const Operands& args, int64_t z) {
    const auto [values, vectors] = eigh_of(load(args.in[0], z, f.n, f.n), z);
    store(values, args.out[0], z);
    store(vectors, args.out[1], z);
  });
}

Kernel make_eigh_backward(Attrs& attrs) {
  return each_matrix(attrs, [](const Frame& f, const Operands& args, int64_t z) {
    store(eigh_backward(load(args.in[0], z, f.n, f.n), load(args.in[1], z, f.n, 1),
                        load(args.in[2], z, f.n, f.n), z),
          args.out[0], z);
  });
}

Kernel make_qr(Attrs& attrs) {
  return each_matrix(attrs, [](const Frame& f, const Operands& args, int64_t z) {
    const auto [q, r] = qr_of(load(args.in[0], z, f.m, f.n), z);
    store(q, args.out[0], z);
    store(r, args.out[1], z);
  });
}

Kernel make_qr_backward(Attrs& attrs) {
  return each_matrix(attrs, [](const Frame& f, const Operands& args, int64_t z) {
    store(qr_backward(load(args.in[0], z, f.m, f.n), load(args.in[1], z, f.m, f.n),
                      load(args.in[2], z, f.n, f.n), z),
          args.out[0], z);
  });
}

Kernel make_expm(Attrs& attrs) {
  return each_matrix(attrs, [](const Frame& f, const Operands& args, int64_t z) {
    const Matrix a = load(args.in[0], z, f.n, f.n);
    demand_finite(a, z);
    if (a.size() > 0) store(a.exp(), args.out[0], z);
  });
}

ATTN_CPU_KERNEL(svd, make_svd);
ATTN_CPU_KERNEL(svd_backward, make_svd_backward);
ATTN_CPU_KERNEL(eigh, make_eigh);
ATTN_CPU_KERNEL(eigh_backward, make_eigh_backward);
ATTN_CPU_KERNEL(qr, make_qr);
ATTN_CPU_KERNEL(qr_backward, make_qr_backward);
ATTN_CPU_KERNEL(expm, make_expm);

}  // namespace
}  // namespace attn::cpu
