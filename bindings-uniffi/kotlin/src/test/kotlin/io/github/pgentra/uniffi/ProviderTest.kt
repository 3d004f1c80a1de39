package io.github.pgentra.uniffi

import com.google.gson.JsonParser
import java.sql.DriverManager
import java.sql.SQLException
import java.util.concurrent.ConcurrentLinkedQueue
import java.util.concurrent.atomic.AtomicInteger
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.TimeoutCancellationException
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.delay
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.Test

/** Providers, custom credentials, errors and logs against the emulator. */
class ProviderTest {
    @BeforeEach
    fun reset() = Emulator.reset()

    private fun connect(login: Login): String =
        DriverManager.getConnection(Emulator.url(), login.user(), login.password()).use { connection ->
            connection.createStatement().executeQuery("select current_user").use {
                it.next()
                it.getString(1)
            }
        }

    @Test
    fun `provider logs in to PostgreSQL`() = runBlocking {
        val (name, clientId) = Emulator.identity()
        val provider = TokenProvider(Emulator.config(clientId))
        assertNull(provider.tryLogin())
        val login = provider.login()
        assertEquals(name, connect(login))
        assertEquals("management token", login.userSource())
        assertTrue(login.expiresOn() > System.currentTimeMillis() / 1000)
        // From memory.
        val before = Emulator.requests()
        assertEquals(login.password(), provider.loginBlocking().password())
        assertEquals(login.password(), provider.tokenBlocking().token())
        assertEquals(login.password(), provider.token().token())
        assertEquals(login.user(), provider.tryLogin()!!.user())
        assertEquals(before, Emulator.requests())
        assertEquals(name, JsonParser.parseString(provider.stats()).asJsonObject["role"].asString)
        // No text of an object shows a token.
        assertFalse("$login ${provider.token()} $provider".contains("eyJ"))
    }

    @Test
    fun `provider fetches once for many callers`() = runBlocking {
        val (_, clientId) = Emulator.identity()
        val provider = TokenProvider(Emulator.config(clientId, "user" to "app"))
        Emulator.call("POST", "/faults", mapOf("endpoint" to "app_service", "latency_ms" to 300))
        val tokens = withContext(Dispatchers.IO) { (1..50).map { async { provider.login().password() } }.awaitAll() }
        assertEquals(1, tokens.toSet().size)
        assertEquals(1, Emulator.requests())
    }

    @Test
    fun `provider whose caller is cancelled keeps its fetch`() = runBlocking {
        val (_, clientId) = Emulator.identity()
        val provider = TokenProvider(Emulator.config(clientId, "user" to "app"))
        Emulator.call("POST", "/faults", mapOf("endpoint" to "app_service", "latency_ms" to 2000, "times" to 1))
        var cancelled = false
        try {
            withTimeout(200) { provider.login() }
        } catch (_: TimeoutCancellationException) {
            cancelled = true
        }
        assertTrue(cancelled)
        provider.login()
        assertEquals(1, Emulator.requests())
    }

    @Test
    fun `provider in an outage throws a typed error`() = runBlocking {
        val (_, clientId) = Emulator.identity()
        val provider = TokenProvider(Emulator.config(clientId))
        Emulator.call("POST", "/faults", mapOf("endpoint" to "app_service", "status" to 503))
        val error = assertThrows(EntraException.Authentication::class.java) { provider.loginBlocking() }
        assertEquals("service_unavailable", error.code)
        assertTrue(error.transient && error.text.contains("HTTP 503"), error.text)
        assertEquals(503, JsonParser.parseString(error.detail).asJsonObject["status"].asInt)
        assertTrue(error.message.contains(error.text))
        val awaited = runCatching { provider.token() }.exceptionOrNull()
        assertTrue(awaited is EntraException.Authentication, "$awaited")

        Emulator.call("DELETE", "/faults")
        withTimeout(60_000) {
            while (runCatching { provider.login() }.isFailure) delay(200)
        }
    }

    @Test
    fun `provider with a wrong option names it`() {
        val error = assertThrows(EntraException.CredentialValue::class.java) { TokenProvider("{\"timeouts\": 1}") }
        assertEquals("invalid_configuration", error.code)
        assertTrue(error.text.contains("timeouts"))
        assertThrows(EntraException.Other::class.java) { TokenProvider("{}").loginBlocking(-1.0) }
        val unavailable = Credential("{\"type\": \"environment\"}")
        val provider = TokenProvider("{\"environment\": {}}", unavailable)
        val missing = assertThrows(EntraException.CredentialUnavailable::class.java) { provider.tokenBlocking() }
        assertTrue(missing.text.startsWith("EnvironmentCredential: "), missing.text)
    }

    /** A custom credential that mints tokens. */
    private class Minting(val principal: String, val lifetime: Int = 3600) : TokenCredential {
        val calls = AtomicInteger()
        var failure: Exception? = null

        override suspend fun getToken(request: TokenRequest): AccessToken {
            calls.incrementAndGet()
            delay(20)
            failure?.let { throw it }
            assertTrue(request.scope.endsWith("/.default"), request.scope)
            return AccessToken(Emulator.mint(principal, lifetime))
        }
    }

    @Test
    fun `custom credential logs in and shares its token`() = runBlocking {
        val (name, _) = Emulator.identity()
        val mine = Minting(name)
        val credential = Credential.custom(mine, "MintingCredential")
        val config = "{\"environment\": {}, \"user\": \"$name\"}"
        val login = TokenProvider(config, credential).login()
        assertEquals(name, connect(login))
        assertEquals(login.password(), TokenProvider(config, credential).loginBlocking().password())
        assertEquals(1, mine.calls.get())
    }

    @Test
    fun `custom credential is called again when its token expires`() = runBlocking {
        val mine = Minting("app-mi", lifetime = 3)
        val provider = TokenProvider("{\"environment\": {}, \"user\": \"app-mi\"}", Credential.custom(mine))
        val first = provider.login().password()
        withTimeout(60_000) {
            while (mine.calls.get() < 4) {
                assertEquals("app-mi", connect(provider.login()))
                delay(100)
            }
        }
        assertNotEquals(first, provider.login().password())
    }

    @Test
    fun `custom credential fails with its reason`() = runBlocking {
        val mine = Minting("app-mi")
        val provider = TokenProvider("{\"environment\": {}}", Credential.custom(mine, "Mine"))
        mine.failure = CredentialFailure.Failed("the vault is closed")
        val failed = assertThrows(EntraException.Authentication::class.java) { provider.loginBlocking() }
        assertEquals("custom_credential", failed.code)
        assertTrue(failed.text.startsWith("Mine: ") && failed.text.contains("the vault is closed"), failed.text)

        val other = Minting("app-mi")
        other.failure = IllegalStateException("a defect")
        val thrown = assertThrows(EntraException.Authentication::class.java) {
            TokenProvider("{\"environment\": {}}", Credential.custom(other)).loginBlocking()
        }
        assertTrue(thrown.text.contains("a defect"), thrown.text)
    }

    @Test
    fun `chain continues after a custom credential that is not set up`() = runBlocking {
        val unavailable = Minting("app-mi")
        unavailable.failure = CredentialFailure.Unavailable("no vault")
        val document = "{\"type\": \"chained\", \"credentials\": [{\"type\": \"custom_credential\", \"index\": 0}, " +
            "{\"type\": \"custom_credential\", \"index\": 1}]}"
        val minting = Minting("app-mi")
        val chain = Credential(document, listOf(Credential.custom(unavailable), Credential.custom(minting)))
        assertEquals("app-mi", connect(TokenProvider("{\"environment\": {}, \"user\": \"app-mi\"}", chain).login()))
        assertEquals(1, minting.calls.get())
    }

    @Test
    fun `cancelling a wait for a custom credential ends the wait`() = runBlocking {
        val release = CompletableDeferred<Unit>()
        val blocked = object : TokenCredential {
            override suspend fun getToken(request: TokenRequest): AccessToken {
                release.await()
                return AccessToken(Emulator.mint("app-mi"))
            }
        }
        val provider = TokenProvider("{\"environment\": {}, \"user\": \"app-mi\"}", Credential.custom(blocked))
        val late = assertThrows(EntraException.Authentication::class.java) { provider.loginBlocking(0.3) }
        assertEquals("timeout", late.code)
        release.complete(Unit)
        assertEquals("app-mi", provider.login().user())
    }

    @Test
    fun `login error is retried with a newer token and explained`() = runBlocking {
        val (name, _) = Emulator.identity()
        val mine = Minting(name, lifetime = 6)
        val provider = TokenProvider("{\"environment\": {}, \"user\": \"$name\"}", Credential.custom(mine))
        val login = provider.login()
        delay(1500) // A token that has just arrived is not replaced.
        Emulator.call("POST", "/postgres", mapOf("refuse_next" to 1))
        val refused = assertThrows(SQLException::class.java) { connect(login) }
        val explained = explainLoginError(refused.sqlState, refused.message!!, login.user(), login.userSource(), login.password())
        assertTrue(explained.retry)
        assertEquals("token_expired", explained.cause)
        assertTrue(explained.text.startsWith("Role tried: '$name'"), explained.text)
        assertTrue(provider.invalidate(login.password()))
        assertEquals(name, connect(provider.login()))
    }

    @Test
    fun `plan keeps a token off a connection without TLS`() {
        val plan = JsonParser.parseString(connectionPlan("{\"text\": \"host=db.example\", \"environment\": {}}")).asJsonObject
        assertEquals("require", plan["sslmode"].asString)
        val refused = assertThrows(EntraException.EntraConnectionValue::class.java) {
            connectionPlan("{\"text\": \"host=db.example sslmode=disable\", \"environment\": {}}")
        }
        assertEquals("insecure_transport", refused.code)
    }

    @Test
    fun `log sink receives the events`() = runBlocking {
        val events = ConcurrentLinkedQueue<String>()
        val sink = object : LogSink {
            override fun log(level: LogLevel, target: String, text: String) {
                events.add("$level $target $text")
            }
        }
        assertTrue(setLogSink(sink))
        assertFalse(setLogSink(sink))
        TokenProvider(Emulator.config(Emulator.identity().second)).login()
        withTimeout(60_000) {
            while (events.none { it.contains("pgentra") }) delay(50)
        }
        assertTrue(events.none { it.contains("eyJ") })
    }

    @Test
    fun `version is that of the library`() = assertEquals("0.1.0", version())
}
