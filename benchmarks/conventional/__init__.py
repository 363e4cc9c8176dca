"""The conventional way, written plainly: what personatune is measured against (`savings.py`).

Every weight is trained. Policy, reference, reward and value are four models. Every prompt is encoded once for each of
its replies. Replies come from `generate` of transformers. No speed trick and no sabotage: fp32, scaled dot-product
attention and a fused AdamW, as transformers and torch give them, batches of like length, and the hyperparameters that
our side has, but for the learning rates, which full fine-tuning wants about ten times lower.
"""
