using System.Runtime.InteropServices;
using System.Runtime.InteropServices.Marshalling;
using PgEntra.Interop;

namespace PgEntra.Identity;

/// <summary>A credential. The credentials have the names and arguments of Azure.Identity.</summary>
/// <remarks>Tokens are cached, refreshed before they expire, and fetched once for all waiting callers. Equal credentials share them.</remarks>
public abstract class PgEntraCredential
{
    private protected PgEntraCredential(CredentialSource source) => Source = source;

    internal CredentialSource Source { get; }

    /// <summary>Returns a token for any scope. Blocks only if no token is cached.</summary>
    /// <param name="request">The request.</param>
    /// <param name="cancellationToken">Ends the wait. The fetch continues for other callers.</param>
    /// <returns>The token and its expiry.</returns>
    /// <exception cref="PgEntraException">The token cannot be obtained.</exception>
    public AccessToken GetToken(TokenRequest request, CancellationToken cancellationToken = default) =>
        Tokens.Get(Source, request, cancellationToken);

    /// <summary>Returns a token for any scope. Blocks no thread.</summary>
    /// <param name="request">The request.</param>
    /// <param name="cancellationToken">Ends the wait. The fetch continues for other callers.</param>
    /// <returns>The token and its expiry.</returns>
    /// <exception cref="PgEntraException">The token cannot be obtained.</exception>
    public ValueTask<AccessToken> GetTokenAsync(TokenRequest request, CancellationToken cancellationToken = default) =>
        Tokens.GetAsync(Source, request, cancellationToken);
}

/// <summary>Obtains tokens of a credential, for any scope.</summary>
internal static unsafe class Tokens
{
    private delegate int CallWith(NativeTokenRequest* wanted);

    internal static AccessToken Get(CredentialSource source, TokenRequest request, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var credential = source.Credential();
        return Try(source, credential, request)
            ?? NativeWait.Block(source.Members, Call(credential, request), Reader(source, request), cancellationToken);
    }

    internal static ValueTask<AccessToken> GetAsync(
        CredentialSource source, TokenRequest request, CancellationToken cancellationToken)
    {
        if (cancellationToken.IsCancellationRequested)
        {
            return ValueTask.FromCanceled<AccessToken>(cancellationToken);
        }

        try
        {
            var credential = source.Credential();
            return Try(source, credential, request) is { } token
                ? new(token)
                : new(NativeWait.AwaitAsync(source.Members, Call(credential, request), Reader(source, request), cancellationToken));
        }
        catch (PgEntraException failure)
        {
            return ValueTask.FromException<AccessToken>(failure);
        }
    }

    /// <summary>Returns a cached token: the same string object as long as the token is the same.</summary>
    private static AccessToken? Try(CredentialSource source, CredentialHandle credential, TokenRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        var cache = source.CacheOf(request);
        var (id, cached) = cache.Read();
        nint token = 0, error = 0;
        long expiresOn = 0, refreshOn = 0;
        var code = With(
            request,
            wanted => Native.TryGetToken(credential, wanted, ref id, out token, out expiresOn, out refreshOn, out error));
        NativeError.Check(code, error);
        if (token == 0)
        {
            return id == 0 ? null : cached;
        }

        return cache.Store(id, new(NativeString.Take(token)!, Time(expiresOn), RefreshTime(refreshOn)));
    }

    internal static StartCall Call(CredentialHandle credential, TokenRequest request) =>
        (callback, id, out operation, out error) =>
        {
            OperationHandle? started = null;
            nint failed = 0;
            var code = With(
                request, wanted => Native.GetTokenAsync(credential, wanted, -1, callback, id, out started, out failed));
            (operation, error) = (started!, failed);
            return code;
        };

    /// <summary>Returns one string object to all callers that waited for it.</summary>
    private static ReadOutcome<AccessToken> Reader(CredentialSource source, TokenRequest request) => (in outcome) =>
    {
        var cache = source.CacheOf(request);
        var (id, cached) = cache.Read();
        return id != 0 && id == outcome.Id ? cached : cache.Store(outcome.Id, Read(outcome));
    };

    internal static AccessToken Read(in Outcome outcome) => new(
        Marshal.PtrToStringUTF8(outcome.Token)!, Time(outcome.ExpiresOn), RefreshTime(outcome.RefreshOn));

    private static DateTimeOffset? RefreshTime(long seconds) => seconds == 0 ? null : Time(seconds);

    /// <summary>Converts seconds since 1970. Times beyond the calendar become its end.</summary>
    private static DateTimeOffset Time(long seconds) => DateTimeOffset.FromUnixTimeSeconds(Math.Clamp(
        seconds, DateTimeOffset.MinValue.ToUnixTimeSeconds(), DateTimeOffset.MaxValue.ToUnixTimeSeconds()));

    private static int With(TokenRequest request, CallWith call)
    {
        NativeTokenRequest wanted = new() { Size = (nuint)sizeof(NativeTokenRequest) };
        try
        {
            wanted.Scope = Utf8StringMarshaller.ConvertToUnmanaged(request.Scope);
            wanted.TenantId = Utf8StringMarshaller.ConvertToUnmanaged(request.TenantId);
            wanted.Claims = Utf8StringMarshaller.ConvertToUnmanaged(request.Claims);
            wanted.EnableCae = request.IsCaeEnabled ? (byte)1 : (byte)0;
            return call(&wanted);
        }
        finally
        {
            Utf8StringMarshaller.Free(wanted.Scope);
            Utf8StringMarshaller.Free(wanted.TenantId);
            Utf8StringMarshaller.Free(wanted.Claims);
        }
    }
}
