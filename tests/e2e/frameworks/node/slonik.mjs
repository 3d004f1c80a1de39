// Slonik. Before version 49 it accepts only a URL, so each connection is opened with a new one.
import { createPgDriverFactory } from "@slonik/pg-driver";
import { createPool, sql } from "slonik";
import { TokenProvider } from "pgentra";
import { z } from "zod";

const { PGHOST: host, PGPORT: port, PGDATABASE: database } = process.env;
const provider = new TokenProvider();
const createDriver = createPgDriverFactory();
const driverFactory = async ({ driverConfiguration }) => ({
    async createClient() {
        const url = new URL(await provider.url({ host, port, database }));
        // It does not accept verify-full; `ssl` verifies the certificate.
        url.searchParams.delete("sslmode");
        const driver = await createDriver({ driverConfiguration: { ...driverConfiguration, connectionUri: url.href } });
        return driver.createClient();
    },
});
const pool = await createPool("postgresql://", { driverFactory, ssl: { rejectUnauthorized: true } });
const role = z.object({ role: z.string() });
console.log((await pool.one(sql.type(role)`select current_user::text as role`)).role);
await pool.end();
