using System.Text.Json;

namespace PgEntra.Identity;

/// <summary>The base class of all errors. The message contains what failed, the credential, the cause that the service reported, and what to do.</summary>
/// <remarks>
/// An error never contains a token, a secret or a response body. The exception of a custom credential is the
/// <see cref="Exception.InnerException"/>. Npgsql wraps errors that occur while a connection is opened: <see cref="Find"/>
/// returns the error in it.
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

    /// <summary>The number of Entra's <c>AADSTS</c> code, if there is one.</summary>
    public int? Aadsts => Detail.TryGetProperty("aadsts", out var number) ? number.GetInt32() : null;

    /// <summary>Whether the same call may succeed later.</summary>
    public bool IsTransient => Detail.TryGetProperty("transient", out var transient) && transient.GetBoolean();

    /// <summary>The error as data; <c>docs/errors.md</c> lists the keys.</summary>
    public JsonElement Detail => (parsed ??= Parse(detail)).RootElement;

    private JsonDocument? parsed;

    /// <summary>Returns the first <see cref="PgEntraException"/> in a chain of inner exceptions.</summary>
    /// <param name="exception">Any exception, such as an <c>NpgsqlException</c>.</param>
    /// <returns>The exception; <see langword="null"/> if there is none.</returns>
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

    /// <summary>Creates the exception of an error of the engine.</summary>
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

    /// <summary>Returns this error with another message, and with this exception as its cause.</summary>
    internal PgEntraException WithMessage(string message) => Of(Kind, message, detail, this);

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

/// <summary>The credential is not available in this environment; a <c>ChainedTokenCredential</c> continues with the next one.</summary>
public sealed class CredentialUnavailableException : PgEntraException
{
    internal CredentialUnavailableException(ErrorKind kind, string message, string detail, Exception? cause)
        : base(kind, message, detail, cause)
    {
    }
}

/// <summary>The credential is available, and the authentication failed.</summary>
public sealed class AuthenticationFailedException : PgEntraException
{
    internal AuthenticationFailedException(ErrorKind kind, string message, string detail, Exception? cause)
        : base(kind, message, detail, cause)
    {
    }
}

/// <summary>The kinds of error, which <c>docs/errors.md</c> describes. The numbers are stable; new kinds are appended.</summary>
public enum ErrorKind
{
    /// <summary>No error.</summary>
    None = 0,

    /// <summary>The credential is not available on this machine.</summary>
    CredentialUnavailable = 1,

    /// <summary>Entra refused the credential, or a developer tool reported a failed sign-in.</summary>
    AuthenticationFailed = 2,

    /// <summary>Entra requires the user to act.</summary>
    InteractionRequired = 3,

    /// <summary>The token service returned 5xx or is overloaded.</summary>
    ServiceUnavailable = 4,

    /// <summary>The token service rejected the request because there were too many.</summary>
    Throttled = 5,

    /// <summary>The token service cannot be reached.</summary>
    Network = 6,

    /// <summary>The certificate of the token service is not trusted.</summary>
    UntrustedCertificate = 7,

    /// <summary>A time limit passed.</summary>
    Timeout = 8,

    /// <summary>The response of the token service or tool cannot be read.</summary>
    BadResponse = 9,

    /// <summary>The received token has already expired.</summary>
    DeadOnArrival = 10,

    /// <summary>The token is not a readable JWT.</summary>
    TokenDecode = 11,

    /// <summary>The token does not contain a role name.</summary>
    UsernameExtraction = 12,

    /// <summary>The management scope was refused, so the role name could not be looked up.</summary>
    ScopePermission = 13,

    /// <summary>A custom credential returned a value that is not a token.</summary>
    CredentialValue = 14,

    /// <summary>An option is unknown, missing, empty or of the wrong type.</summary>
    InvalidConfiguration = 15,

    /// <summary>The connection's own settings contradict each other or the options given.</summary>
    InvalidConnection = 16,

    /// <summary>A token would have been sent without TLS.</summary>
    InsecureTransport = 17,

    /// <summary>A call would have waited for the fetch in which it was made.</summary>
    WouldDeadlock = 18,

    /// <summary>The process is ending.</summary>
    ShuttingDown = 19,

    /// <summary>The caller ended its wait.</summary>
    Cancelled = 20,

    /// <summary>A custom credential failed.</summary>
    CustomCredential = 21,

    /// <summary>A defect in this library.</summary>
    Internal = 22,

    /// <summary>A function of the C interface was called with an argument that it does not accept.</summary>
    InvalidArgument = 23,
}
