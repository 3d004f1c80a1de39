// Better Auth over pg's pool, whose client determines the user.
import { randomBytes } from "node:crypto";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import pg from "pg";
import { entraClient } from "pgentra";

const schema = `auth_${process.env.TEST_NUMBER}`;
const pool = new pg.Pool({ Client: entraClient(pg.Client), options: `-c search_path=${schema}` });
await pool.query(`create schema ${schema}`);
const options = {
    database: pool,
    emailAndPassword: { enabled: true },
    secret: randomBytes(32).toString("hex"),
    baseURL: "http://localhost",
};
await (await getMigrations(options)).runMigrations();
const user = { name: "Alice", email: "alice@contoso.example", password: "a long password" };
await betterAuth(options).api.signUpEmail({ body: user });
console.log((await pool.query('select current_user as role from "user"')).rows[0].role);
await pool.query(`drop schema ${schema} cascade`);
await pool.end();
