/** Values of the console, which gateways serve to people. */
import * as z from "zod";
import { mapOf, object } from "./schema.ts";
import { port } from "./workload.ts";

const text = (what: string) => z.string().default("").describe(what);

export const consoleValues = object(
  {
    enabled: z
      .boolean()
      .default(false)
      .describe("Serve the console and its JSON API, on a port and a Service of their own"),
    keysSecret: text(
      "Secret of yours, whose `keys` has a base64 key of 32 bytes in each line, newest first: sessions are sealed with it",
    ),
    url: z
      .string()
      .regex(/^(https:\/\/[^/\s]+)?$/)
      .default("")
      .describe("As browsers reach it, such as https://slipway.example.org; sign-in by OIDC needs it"),
    tls: z
      .boolean()
      .default(true)
      .describe("With the gateway's certificate; without it what lies in front must have one"),
    service: object(
      {
        type: z
          .enum(["ClusterIP", "NodePort", "LoadBalancer"])
          .default("ClusterIP")
          .describe("How people reach it"),
        port: port.default(443).describe("Port of the Service"),
        annotations: mapOf(z.string()).default({}).describe("Annotations of the Service"),
      },
      "The Service in front of the console",
    ),
    ingress: object(
      {
        enabled: z
          .boolean()
          .default(false)
          .describe(
            "Where the controller speaks plain HTTP to Pods, `gateway.console.tls` must be false; else say by an annotation that they speak HTTPS",
          ),
        className: z.string().default("").describe("Class of the Ingress"),
        host: z
          .string()
          .regex(/^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$/)
          .default("")
          .describe("Its name, as browsers know it; `gateway.console.url` follows from it"),
        tlsSecret: text(
          "Secret of yours with the certificate of that name; empty for the controller's own, or one that an annotation asks for",
        ),
        annotations: mapOf(z.string()).default({}).describe("Annotations of the Ingress"),
      },
      "An Ingress for people. Set `gateway.trustedProxies`, too, or all people count as one who signs in",
    ),
    assignNodes: z
      .boolean()
      .default(false)
      .describe(
        "Lets the gateway read and label Nodes, so that people assign them to groups by the console; who may is what RBAC says of them",
      ),
    oidc: object(
      {
        issuer: z
          .string()
          .regex(/^(https:\/\/\S+)?$/)
          .default("")
          .describe("Identity provider (OpenID Connect); empty for sign-in by Kubernetes tokens alone"),
        clientId: text("As the provider knows the console; its redirect URI is `URL/auth/callback`"),
        clientSecret: text(
          "Secret of yours with the client's secret as `clientSecret`; empty for a public client",
        ),
        usernameClaim: z.string().min(1).default("sub").describe("As kube-apiserver's --oidc-username-claim"),
        usernamePrefix: text("As --oidc-username-prefix: empty for the issuer and `#`, `-` for none"),
        groupsClaim: text("As --oidc-groups-claim"),
        groupsPrefix: text("As --oidc-groups-prefix"),
        scopes: z.array(z.string().min(1)).default(["profile", "email"]).describe("Besides openid"),
        port: port.default(443).describe("Of the provider, for the NetworkPolicy"),
      },
      "Sign-in by an identity provider. Names are made as kube-apiserver makes them, so that RBAC knows the same people",
    ),
  },
  "The console",
);
