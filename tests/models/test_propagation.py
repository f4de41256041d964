"""Products with constant sparse matrices. Propagation over the graph of favorites is tested with LightGCN."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models.propagation import Fixed, Graph, cut

CPU = torch.device("cpu")


def test_a_product_is_that_of_the_dense_matrix_and_so_is_its_gradient() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(4, 6)) * (rng.random((4, 6)) < 0.5)
    fixed = Fixed(csr_array(matrix.astype(np.float32)), CPU)
    dense = torch.from_numpy(rng.normal(size=(6, 3))).requires_grad_()
    np.testing.assert_allclose((fixed @ dense).detach().numpy(), matrix.astype(np.float32) @ dense.detach().numpy())
    assert torch.autograd.gradcheck(lambda x: fixed @ x, dense)


def test_a_matrix_without_entries_gives_zeros() -> None:
    product = Fixed(csr_array((3, 5), dtype=np.float32), CPU) @ torch.ones(5, 2)
    assert torch.equal(product, torch.zeros(3, 2))


def test_the_gradient_of_propagation_over_a_graph_is_that_of_its_layers() -> None:
    likes_UW = np.random.default_rng(1).random((4, 5)) < 0.5
    graph = Graph(csr_array(likes_UW), 2, CPU)
    ego_Vd = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(graph.propagate, ego_Vd)


def test_rows_in_pieces_add_up_to_the_rows() -> None:
    rng = np.random.default_rng(2)
    matrix = csr_array((rng.random((7, 9)) < 0.6) * rng.normal(size=(7, 9)) * (np.arange(7) != 3)[:, None])
    starts_P, first_R = cut(matrix.indptr.astype(np.int64), 2)
    ends_P = np.append(starts_P[1:], matrix.nnz)

    assert (ends_P - starts_P).max() == 2
    dense = rng.normal(size=(9, 4))
    sums_P = np.array([matrix.data[a:b] @ dense[matrix.indices[a:b]] for a, b in zip(starts_P, ends_P, strict=True)])
    np.testing.assert_allclose(np.add.reduceat(sums_P, first_R), matrix @ dense)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_product_is_that_of_the_cpu() -> None:
    rng = np.random.default_rng(3)
    matrix = csr_array((rng.random((50, 900)) < 0.3) * rng.random((50, 900)))
    dense = torch.rand(900, 64)
    on_gpu = Fixed(matrix, torch.device("cuda")) @ dense.cuda()
    torch.testing.assert_close(on_gpu.cpu(), Fixed(matrix, CPU) @ dense)
