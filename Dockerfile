# The six programs in an image of their own: docker build -t ft . && docker run -v "$PWD:/work" ft ft-train --help
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --workspace --bins && scripts/install.sh /opt/ft

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/ft /usr/local
WORKDIR /work
CMD ["ft-train", "--help"]
