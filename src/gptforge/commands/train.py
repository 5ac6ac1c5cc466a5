"""gptforge train"""


def run(cfg, call):
    print(call)
    print(cfg.model.n_layer, cfg.optimizer.lr, repr(cfg.prompt))
    return 0
