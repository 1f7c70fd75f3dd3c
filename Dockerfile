# Slipway: one image for all roles. `docker build -t slipway .`, or `npm run image` without Docker.
# The bundle is made on the build stage, by the Node.js that package-lock.json pins, which is also
# the one in the image. No shell is in the image, nor in what the build stage runs.
FROM docker.io/library/node:26-bookworm-slim AS build
WORKDIR /src
COPY . .
RUN ["node", "hack/bootstrap.mjs", "hack/bundle.ts", "--root", "/out"]

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/ /
USER 65532:65532
ENV NODE_ENV=production
ENTRYPOINT ["/usr/local/bin/node", "/usr/lib/slipway/bin/slipway.mjs"]
