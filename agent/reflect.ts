/**
 * @peculiar/x509 is built on tsyringe, which refuses to load where the metadata API of
 * decorators is missing; neither uses it for what we do. Import this before it.
 */
const reflect = Reflect as { getMetadata?: unknown; defineMetadata?: unknown; getOwnMetadata?: unknown };
reflect.getMetadata ??= () => undefined;
reflect.getOwnMetadata ??= () => undefined;
reflect.defineMetadata ??= () => undefined;
