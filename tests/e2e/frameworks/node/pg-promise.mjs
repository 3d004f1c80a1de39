// pg-promise, which passes its settings to pg.
import pgPromise from "pg-promise";
import { entraConfig } from "pgentra";

const database = pgPromise()(await entraConfig());
console.log((await database.one("select current_user as role")).role);
await database.$pool.end();
