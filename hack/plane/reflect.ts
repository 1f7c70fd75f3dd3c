/**
 * @peculiar/x509 is built on tsyringe, which refuses to load without the metadata API of
 * decorators; neither uses it on our path. Import this before @peculiar/x509.
 */
const reflect = Reflect as { getMetadata?: unknown; defineMetadata?: unknown; getOwnMetadata?: unknown };
reflect.getMetadata ??= () => undefined;
reflect.getOwnMetadata ??= () => undefined;
reflect.defineMetadata ??= () => undefined;
