# One file for every image: docker build --build-arg BIN=ambassador-proxy -t ambassador-proxy:0.1.0 .
#
# `compile` builds the binary here, in the official Rust image. Where no registry can be reached, or where the
# binaries exist already, `--build-arg BINARY_FROM=prebuilt` takes them from dist/ (`cargo xtask images` does).
# BuildKit builds only the stages that are used, so the other one costs nothing.
ARG BINARY_FROM=compile
ARG BIN=ambassador-proxy
# `--build-arg BIN=init-waitfor --build-arg FEATURES=git` is what init-waitfor:VERSION-git is made of; from dist/ it is VARIANT=-git.
ARG FEATURES=
ARG VARIANT=
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z

# ---------------------------------------------------------------------------------------------- compile (begin)
FROM --platform=$BUILDPLATFORM rust:1.95.0-trixie AS compile
ARG BIN
ARG FEATURES
ARG REVISION
ARG CREATED
ARG TARGETARCH
WORKDIR /src
# hadolint ignore=DL3008
RUN if [ "$TARGETARCH" = arm64 ] && [ "$(dpkg --print-architecture)" != arm64 ]; then \
      apt-get update && \
      apt-get install --yes --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross && \
      rm -rf /var/lib/apt/lists/*; \
    fi
COPY . .
# Static glibc, not musl: its allocator does not serialise threads. The explicit --target keeps the flag away from
# procedural macros, which cannot be static.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=podmates-target-${TARGETARCH} \
    case "$TARGETARCH" in \
      amd64) triple=x86_64-unknown-linux-gnu ;; \
      arm64) triple=aarch64-unknown-linux-gnu ;; \
      *) echo "no target for TARGETARCH=$TARGETARCH" >&2; exit 1 ;; \
    esac; \
    if [ "$(dpkg --print-architecture)" != "$TARGETARCH" ]; then \
      export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc; \
    fi; \
    rustup target add "$triple" && \
    profile=release; if [ "$BIN" = init-waitfor ]; then profile=small; fi; \
    PODMATES_COMMIT="$REVISION" PODMATES_COMMIT_DATE="${CREATED%%T*}" \
    CFLAGS="-DMY_ASSEMBLER_IS_TOO_OLD_FOR_512AVX \
      -DZSTD_EXCLUDE_DFAST_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_GREEDY_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_LAZY_BLOCK_COMPRESSOR \
      -DZSTD_EXCLUDE_LAZY2_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTLAZY2_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTOPT_BLOCK_COMPRESSOR \
      -DZSTD_EXCLUDE_BTULTRA_BLOCK_COMPRESSOR -DHUF_FORCE_DECOMPRESS_X1 -DZSTD_FORCE_DECOMPRESS_SEQUENCES_SHORT" \
    RUSTFLAGS="-C target-feature=+crt-static -C strip=symbols -C link-arg=-Wl,-z,pack-relative-relocs" \
      cargo build --profile "$profile" --locked --target "$triple" --package "$BIN" --features "$FEATURES" && \
    mkdir -p /out/etc/ssl/certs && \
    cp "target/$triple/$profile/$BIN" "/out/$BIN" && \
    cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt
# ------------------------------------------------------------------------------------------------ compile (end)

FROM scratch AS prebuilt
ARG BIN
ARG VARIANT
ARG TARGETARCH
COPY --chmod=0555 dist/${TARGETARCH}${VARIANT}/${BIN} /out/${BIN}
COPY --chmod=0444 dist/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt

FROM ${BINARY_FROM} AS binary

# No shell, no /tmp, nothing to write: a volume that is mounted brings its own mode.
FROM scratch AS image
ARG VERSION
ARG REVISION
ARG CREATED
COPY --from=binary /out/ /
USER 65532:65532
STOPSIGNAL SIGTERM
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="Podmates"

# An exec-form ENTRYPOINT takes no build argument, so each binary has its own few lines; BIN chooses among them.
FROM image AS ambassador-proxy
LABEL org.opencontainers.image.title="ambassador-proxy" \
      org.opencontainers.image.description="Localhost in, a reliable world out: HTTP and TCP proxy for one pod"
ENTRYPOINT ["/ambassador-proxy"]

FROM image AS sidecar-logshipper
LABEL org.opencontainers.image.title="sidecar-logshipper" \
      org.opencontainers.image.description="Ships log files to a backend, at least once, nothing lost"
ENTRYPOINT ["/sidecar-logshipper"]

FROM image AS adapter-logformat
LABEL org.opencontainers.image.title="adapter-logformat" \
      org.opencontainers.image.description="Any log format in, one schema out, every line accounted for"
ENTRYPOINT ["/adapter-logformat"]

FROM image AS init-waitfor
LABEL org.opencontainers.image.title="init-waitfor" \
      org.opencontainers.image.description="Ends with 0 when what the app needs is there"
ENTRYPOINT ["/init-waitfor"]

FROM image AS demo-app
LABEL org.opencontainers.image.title="demo-app" \
      org.opencontainers.image.description="The small web shop of the Podmates examples"
ENTRYPOINT ["/demo-app"]

FROM image AS demo-backend
LABEL org.opencontainers.image.title="demo-backend" \
      org.opencontainers.image.description="The orders service and the log store of the Podmates examples"
ENTRYPOINT ["/demo-backend"]

FROM ${BIN} AS final
