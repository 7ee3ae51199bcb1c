"""A model that reads one sequence and writes another.

Sutskever, Vinyals and Le, "Sequence to sequence learning with neural networks", arXiv 1409.3215;
Cho et al., "Learning phrase representations using RNN encoder-decoder", arXiv 1406.1078.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from gatewise.errors import InputError, UnsupportedError
from gatewise.kernels import steering
from gatewise.layers import Embedding, Layer
from gatewise.models.describing import describe_layer, make_layer, model_kind
from gatewise.models.functional import Functional
from gatewise.seq2seq import search as searches
from gatewise.seq2seq.drawing import draw
from gatewise.seq2seq.language import positive_length, without_stop
from gatewise.seq2seq.sampled import checked_rate, with_own_tokens
from gatewise.seq2seq.search import Search
from gatewise.seq2seq.steps import DecoderSteps, parts_of
from gatewise.seq2seq.tokens import Head, checked_token, padded_source, shifted
from gatewise.training import Several


@model_kind
class Seq2Seq(Functional):
    """An encoder that reads a source, and a decoder that writes a target, one token at a time.

        states, memory = encoder(source)
        p(y_t | y_1 … y_{t-1}, source) = head(decoder(start, y_1 … y_{t-1}; states, memory))_t

    `encoder` and `decoder` are lists of layers: LSTM, GRU, SimpleRNN or RNN(cell), stacked as you
    like, in the encoder also Bidirectional, with Embedding, Masking, Dense, Dropout, Activation and
    LayerNormalization around them. Their `return_sequences` and `return_state` follow from where
    they stand, and are set here. Each recurrent layer of the decoder begins with the final states
    of the encoder's at the same place (those of both directions side by side); `bridge="dense"`
    puts a trained tanh layer between all of them, so that sizes and cells may differ. `attention`
    is None, "luong" or "bahdanau", see `gatewise.seq2seq.attention`.

    It is a model with two inputs, as in Keras: `fit([source, heard], said)`, where `heard` begins
    with the token `start` and `said` ends with `stop`; `teacher_forced` makes these from plain
    targets. Each recurrent layer runs once over the whole sequence. While training,
    `scheduled_sampling` replaces this share of the tokens heard by the model's own; it may be
    changed from epoch to epoch. `generate` writes. Sequences of different lengths are padded with
    id 0, which `Embedding(mask_zero=True)` hides on either side.

    Raises `InputError` for sizes that do not fit, `UnsupportedError` for layers that cannot serve.

    >>> from gatewise.layers import LSTM, Dense
    >>> model = Seq2Seq(
    ...     encoder=[Embedding(20, 8, mask_zero=True), LSTM(16)],
    ...     decoder=[Embedding(12, 8, mask_zero=True), LSTM(16), Dense(12, activation="softmax")],
    ...     attention="luong", start=1, stop=2,
    ... )
    >>> model.compile("adam", "sparse_categorical_crossentropy")
    >>> sources, targets = [[5, 6, 7], [8, 9]], [[3, 4], [5, 6, 7]]
    >>> history = model.fit(*model.teacher_forced(sources, targets), verbose=0)
    >>> len(model.generate(sources, max_length=5))
    2
    """

    def __init__(
        self,
        encoder: Sequence[Layer],
        decoder: Sequence[Layer],
        *,
        attention: str | None = None,
        bridge: str = "copy",
        start: int | None = None,
        stop: int | None = None,
        scheduled_sampling: float = 0.0,
        name: str | None = None,
    ) -> None:
        encoder, decoder = list(encoder), list(decoder)
        drawing = draw(encoder, decoder, attention, bridge)
        super().__init__([drawing.source, drawing.target], drawing.output, name=name or "seq2seq")
        self._given_layers = encoder, decoder
        self._kinds = attention, bridge
        self.start, self.stop = checked_token("start", start), checked_token("stop", stop)
        # In a tuple: as attributes their layers would be this model's for a second time.
        self._parts = (
            Functional(drawing.source, drawing.handed, name="encoder"),
            Functional(
                [drawing.target, *drawing.handed], [drawing.output, *drawing.states], name="decoder"
            ),
        )
        self._asking = drawing.asking
        self.scheduled_sampling = scheduled_sampling

    @property
    def encoder(self) -> Functional:
        """The model from a source to what the decoder needs of it; it shares the layers."""
        return self._parts[0]

    @property
    def decoder(self) -> Functional:
        """The model from tokens, and what the encoder returned, to the output and new states.

        A step is a call on one token with the last states, as in Keras's inference models.
        """
        return self._parts[1]

    @property
    def scheduled_sampling(self) -> float:
        """The share of the tokens heard in training that are the model's own."""
        return self._scheduled_sampling

    @scheduled_sampling.setter
    def scheduled_sampling(self, value: float) -> None:
        self._scheduled_sampling = checked_rate(value)
        if value:
            self._head()  # raises for a decoder that hears no tokens

    # Training.

    def teacher_forced(self, sources: Any, targets: Sequence[Any]) -> tuple[list[Tensor], Tensor]:
        """Return `[source, heard], said` for `fit` and `evaluate`.

        `sources` is an array, or a list of series of different lengths; `targets` holds token ids
        without start and stop, as a list or an array. What is shorter is padded with 0.
        """
        if self.start is None:
            raise InputError(
                f"{self.name} was made without a start token, which the decoder hears first. "
                "Make it with start= and, if answers differ in length, stop=."
            )
        encoder, decoder = self._given_layers
        hears = decoder[0]
        padded = isinstance(hears, Embedding) and hears.mask_zero
        heard, said = shifted(targets, self.start, self.stop, padded)
        source = padded_source(sources, encoder[0], "source")
        if len(source) != len(heard):
            raise InputError(f"There are {len(source)} sources but {len(heard)} targets.")
        x = [source, padded_source(heard, hears, "target")]
        return x, torch.nn.utils.rnn.pad_sequence(said, batch_first=True)

    def forward_with_mask(self, x: Any, mask: Any = None) -> tuple[Any, Any]:
        """Return the output (B, T, V) for `Several([source, heard])`, and its mask."""
        if self.training and self.scheduled_sampling:
            with torch.no_grad(), steering(None):
                said, real = super().forward_with_mask(x, mask)
            source, heard = x.parts
            log_p = self._head().log_p(said)
            x = Several([source, with_own_tokens(heard, log_p, real, self.scheduled_sampling)])
        return super().forward_with_mask(x, mask)

    def forward_piece(self, x: Several, start: int, stop: int) -> tuple[Tensor, Any]:
        """Return the output for these steps of the target alone, after the whole source.

        Gradient algorithms that cut the decoder's sequence steer its passes, not the encoder's.
        """
        if self.training and self.scheduled_sampling:
            raise UnsupportedError(
                "scheduled_sampling hears the whole target before it goes back, and this gradient "
                "takes it piece by piece. Use gradient=BPTT(checkpoint='sqrt') to save memory."
            )
        source, heard = x.parts
        with steering(None):
            handed, masks = self._read(source)
        given = Several([heard[:, start:stop], *handed])
        result, of_each = self.decoder.forward_with_mask(given, [None, *masks])
        return parts_of(result)[0], of_each[0]

    @property
    def layers_in_pieces(self) -> list[Layer]:
        """The decoder's own layers, whose sequence may come in pieces."""
        return list(self._given_layers[1])

    # Writing.

    @torch.no_grad()
    def generate(
        self,
        source: Any,
        max_length: int = 50,
        *,
        search: str | Search = "greedy",
        batch_size: int = 128,
    ) -> list[np.ndarray]:
        """Return what the model writes for each source: token ids, start and stop left out.

        `source` is an array (N, T, …) or a list of series of different lengths. `search` is
        "greedy", "sampling" or "beam", or an object that says more, such as
        `Sampling(temperature=0.7, seed=1)` or `BeamSearch(width=8, length_penalty=0.6)`. Writing
        ends at the stop token, or after `max_length` tokens.

        Raises `InputError` for a model without a start token.
        """
        if self.start is None:
            raise InputError(
                f"{self.name} was made without a start token, so generate() does not know what "
                "the decoder hears first. Make it with start= and stop=."
            )
        length, chosen, head = positive_length(max_length), searches.get(search), self._head()
        x = padded_source(source, self._given_layers[0][0], "source").to(self.device)
        written: list[np.ndarray] = []
        with self._inference():
            for number, part in enumerate(self._cast(x, self._ids[0]).split(batch_size)):
                handed, masks = self._read(part)
                steps = DecoderSteps(self.decoder, head, handed, masks)
                begin = torch.full((len(part),), self.start, device=part.device)
                search = chosen.for_batch(number)
                found = search.run(steps, steps.step(begin), self.stop, length)
                written += [without_stop(one.ids, self.stop) for one in found]
        return written

    @torch.no_grad()
    def alignment(self, source: Any, heard: Any) -> np.ndarray:
        """Return where each step of the target looked: attention weights (B, T_target, T_source).

        Each row sums to one. Raises `UnsupportedError` for a model without attention.
        """
        if self._asking is None:
            raise UnsupportedError(
                f"{self.name} has no attention to look at. Make it with attention='luong' or "
                "'bahdanau'."
            )
        asking = Functional([*self.inputs], self._asking)
        layer: Any = self.get_layer(f"{self._kinds[0]}_attention")
        with self._inference():
            given = self.received([source, heard]).to(self.device)
            result, masks = asking.forward_with_mask(given)
            _, weights = layer(parts_of(result), mask=masks, return_attention_scores=True)
        return weights.cpu().numpy()

    def _head(self) -> Head:
        decoder = self._given_layers[1]
        return Head(f"{self.name}'s decoder", decoder[-1], decoder[0])

    def _read(self, source: Tensor) -> tuple[list[Tensor], list[Any]]:
        """Return what the decoder needs of the source, and the mask of each."""
        result, masks = self.encoder.forward_with_mask(source)
        handed = parts_of(result)
        return handed, masks if isinstance(masks, list) else [masks]

    @contextmanager
    def _inference(self) -> Iterator[None]:
        mode = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(mode)

    # Files.

    def get_config(self) -> dict[str, Any]:
        """Return the layers and arguments as JSON values; `from_config` reads them."""
        encoder, decoder = ([layer.name for layer in part] for part in self._given_layers)
        own = {layer.name: layer for part in self._given_layers for layer in part}
        attention, bridge = self._kinds
        return {
            "name": self.name,
            "layers": {name: describe_layer(layer, name) for name, layer in own.items()},
            "order": [*encoder, *decoder],
            "encoder": encoder,
            "decoder": decoder,
            "attention": attention,
            "bridge": bridge,
            "start": self.start,
            "stop": self.stop,
            "scheduled_sampling": self.scheduled_sampling,
            "frozen": [x.name for x in self.layers if x.name not in own and not x.trainable],
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return a new model with the layers of `get_config`; its weights start anew."""
        made: dict[str, Any] = {
            name: make_layer(stored) for name, stored in config["layers"].items()
        }
        model = cls(
            [made[name] for name in config["encoder"]],
            [made[name] for name in config["decoder"]],
            attention=config["attention"],
            bridge=config["bridge"],
            start=config["start"],
            stop=config["stop"],
            scheduled_sampling=config["scheduled_sampling"],
            name=config["name"],
        )
        for name in config["frozen"]:
            model.get_layer(name).trainable = False
        return model
