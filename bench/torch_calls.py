"""A case of `cumulus bench` as PyTorch's users write it. The module `torch` is given: whoever imports this need not have it."""


def eager_call(torch, case, x, y, mask):
    """One call that writes into y: reverse is flip, scan, flip. None for what PyTorch has no such scan for."""
    axis = case["axis"]
    if case["op"] not in ("sum", "prod"):
        return None  # cummax and cummin also return indices
    scan = torch.cumsum if case["op"] == "sum" else torch.cumprod
    product = torch.empty_like(x) if mask is not None else None
    first = 1 if case["op"] == "prod" else 0

    def call():
        source, target = x, y
        if mask is not None:
            source = torch.mul(x, mask, out=product)
        if case["reverse"]:
            source = source.flip(axis)
        if case["kind"] != "inclusive":
            target.narrow(axis, 0, 1).fill_(first)
            target = target.narrow(axis, 1, target.shape[axis] - 1)
        if case["kind"] == "exclusive":
            source = source.narrow(axis, 0, source.shape[axis] - 1)
        if case["reverse"]:
            target.copy_(scan(source, axis, dtype=y.dtype).flip(axis))
        else:
            scan(source, axis, dtype=y.dtype, out=target)

    return call


def compiled_call(torch, case, x, y, mask):
    """One call of a function that torch.compile made: it returns its result, as compiled models do."""
    axis = case["axis"]
    if case["op"] not in ("sum", "prod"):
        return None
    scan = torch.cumsum if case["op"] == "sum" else torch.cumprod
    first = torch.zeros_like if case["op"] == "sum" else torch.ones_like
    dtype = y.dtype

    def function(x, mask):
        if mask is not None:
            x = x * mask
        if case["reverse"]:
            x = x.flip(axis)
        if case["kind"] != "inclusive":
            rest = x if case["kind"] == "prefixes" else x.narrow(axis, 0, x.shape[axis] - 1)
            x = torch.cat((first(x.narrow(axis, 0, 1)), rest), axis)
        x = scan(x, axis, dtype=dtype)
        return x.flip(axis) if case["reverse"] else x

    torch._dynamo.reset()  # no recompilation of an earlier case's function for another shape
    compiled = torch.compile(function, dynamic=False)
    return lambda: compiled(x, mask)
