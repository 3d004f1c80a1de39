import { TokenProvider } from "pgentra";

export const dynamic = "force-dynamic";

const provider = new TokenProvider(() => ({ token: "opaque", expiresOnTimestamp: Date.now() + 3600e3 }));

export const GET = async () => new Response(await provider.get());
