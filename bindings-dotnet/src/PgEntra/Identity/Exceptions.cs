using System.Text.Json;

namespace PgEntra.Identity;

/// <summary>What every door throws. The message says what failed, for which credential, what the service said and what to do.</summary>
/// <remarks>
/// It never holds a token, a secret or a response body. What a credential of the program itself threw is the
/// <see cref="Exception.InnerException"/>. Npgsql wraps what happens while a connection is opened: <see cref="Find"/> looks inside.
/// </remarks>
public class PgEntraException : Exception
{
    private readonly string detail;

    private protected PgEntraException(ErrorKind kind, string message, string detail, Exception? cause)
        : base(message, cause)
    {
        Kind = kind;
        this.detail = detail;
    }

    /// <summary>The kind of error.</summary>
    public ErrorKind Kind { get; }

    /// <summary>The stable text of the kind, such as <c>credential_unavailable</c>.</summary>
    public string Code => Text("code") ?? "internal";

    /// <summary>The number behind <c>AADSTS</c>, where Entra gave one.</summary>
    public int? Aadsts => Detail.TryGetProperty("aadsts", out var number) ? number.GetInt32() : null;

    /// <summary>Whether the same call may succeed later with nothing changed.</summary>
    public bool IsTransient => Detail.TryGetProperty("transient", out var transient) && transient.GetBoolean();

    /// <summary>Everything as data: <c>docs/errors.md</c> lists the keys.</summary>
    public JsonElement Detail => (parsed ??= Parse(detail)).RootElement;

    private JsonDocument? parsed;

    /// <summary>The first one in <paramref name="exception"/> and what it wraps; none: <see langword="null"/>.</summary>
    /// <param name="exception">Any exception, such as an <c>NpgsqlException</c>.</param>
    /// <returns>The exception of this library.</returns>
    public static PgEntraException? Find(Exception? exception)
    {
        for (var inner = exception; inner is not null; inner = inner.InnerException)
        {
            if (inner is PgEntraException found)
            {
                return found;
            }
        }

        return null;
    }

    /// <summary>The exception of an error of the engine's.</summary>
    internal static PgEntraException Of(ErrorKind kind, string message, string detail, Exception? cause)
    {
        using var read = Parse(detail);
        return (read.RootElement.TryGetProperty("error_class", out var name) ? name.GetString() : null) switch
        {
            "CredentialUnavailableError" => new CredentialUnavailableException(kind, message, detail, cause),
            "AuthenticationError" => new AuthenticationFailedException(kind, message, detail, cause),
            _ => new PgEntraException(kind, message, detail, cause),
        };
    }

    /// <summary>The same with another message, and this one as its cause.</summary>
    internal PgEntraException Saying(string message) => Of(Kind, message, detail, this);

    private string? Text(string key) => Detail.TryGetProperty(key, out var text) ? text.GetString() : null;

    private static JsonDocument Parse(string detail)
    {
        try
        {
            return JsonDocument.Parse(detail);
        }
        catch (JsonException)
        {
            return JsonDocument.Parse("{}");
        }
    }
}

/// <summary>The credential is not set up here; a <c>ChainedTokenCredential</c> goes on past it.</summary>
public sealed class CredentialUnavailableException : PgEntraException
{
    internal CredentialUnavailableException(ErrorKind kind, string message, string detail, Exception? cause)
        : base(kind, message, detail, cause)
    {
    }
}

/// <summary>The credential is set up and did not work.</summary>
public sealed class AuthenticationFailedException : PgEntraException
{
    internal AuthenticationFailedException(ErrorKind kind, string message, string detail, Exception? cause)
        : base(kind, message, detail, cause)
    {
    }
}

/// <summary>The kinds of error; <c>docs/errors.md</c> says what to do about each. The numbers are stable, new ones are appended.</summary>
public enum ErrorKind
{
    /// <summary>No error.</summary>
    None = 0,

    /// <summary>The credential is not set up on this machine.</summary>
    CredentialUnavailable = 1,

    /// <summary>Entra refused the credential, or a developer tool reported a failed sign-in.</summary>
    AuthenticationFailed = 2,

    /// <summary>Entra wants the user to act.</summary>
    InteractionRequired = 3,

    /// <summary>The token service answered 5xx or is overloaded.</summary>
    ServiceUnavailable = 4,

    /// <summary>The token service asked for fewer requests.</summary>
    Throttled = 5,

    /// <summary>The token service could not be reached.</summary>
    Network = 6,

    /// <summary>The certificate of the token service is not trusted.</summary>
    UntrustedCertificate = 7,

    /// <summary>A time limit passed.</summary>
    Timeout = 8,

    /// <summary>The answer of the token service or tool cannot be understood.</summary>
    BadResponse = 9,

    /// <summary>The token that arrived has already expired.</summary>
    DeadOnArrival = 10,

    /// <summary>The token is not a readable JWT.</summary>
    TokenDecode = 11,

    /// <summary>No role name follows from the token.</summary>
    UsernameExtraction = 12,

    /// <summary>The management scope was refused, so the role name could not be looked up.</summary>
    ScopePermission = 13,

    /// <summary>What was given as a credential returned something that is no token.</summary>
    CredentialValue = 14,

    /// <summary>An option is unknown, missing, empty or of the wrong type.</summary>
    InvalidConfiguration = 15,

    /// <summary>The connection's own settings contradict each other or the options given.</summary>
    InvalidConnection = 16,

    /// <summary>A token would have gone over a connection without TLS.</summary>
    InsecureTransport = 17,

    /// <summary>A call was made inside of the fetch that it would have waited for.</summary>
    WouldDeadlock = 18,

    /// <summary>The process is ending.</summary>
    ShuttingDown = 19,

    /// <summary>The caller gave up its wait.</summary>
    Cancelled = 20,

    /// <summary>The program's own credential object failed.</summary>
    CustomCredential = 21,

    /// <summary>A defect in this library.</summary>
    Internal = 22,

    /// <summary>A function of the C interface was called with something that it does not take.</summary>
    InvalidArgument = 23,
}
