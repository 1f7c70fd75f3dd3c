# Slipway: one image for all roles. `docker build -t slipway .`
# The bundle is made on the build stage; nothing but Node.js and the bundle runs.
FROM node:26-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN node hack/bundle.ts /out

FROM node:26-bookworm-slim
COPY --from=build /out /usr/lib/slipway
USER 65532:65532
ENV NODE_ENV=production
ENTRYPOINT ["node", "/usr/lib/slipway/bin/slipway.mjs"]
