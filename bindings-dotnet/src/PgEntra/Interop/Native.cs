using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

[assembly: DisableRuntimeMarshalling]

namespace PgEntra.Interop;

/// <summary>The functions of <c>bindings-c/include/pgentra.h</c>, which documents each function and the ownership of its arguments.</summary>
internal static unsafe partial class Native
{
    private const string Name = NativeLoader.Name;

    static Native() => NativeLoader.Register();

    // The library.

    [LibraryImport(Name, EntryPoint = "pgentra_shutdown")]
    internal static partial void Shutdown();

    [LibraryImport(Name, EntryPoint = "pgentra_set_log_callback")]
    internal static partial int SetLogCallback(
        int level,
        delegate* unmanaged[Cdecl]<nint, int, nint, nint, void> callback,
        nint userData,
        delegate* unmanaged[Cdecl]<nint, void> finalizer,
        out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_stats")]
    internal static partial int GetStats(out nint json, out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_string_free")]
    internal static partial void FreeString(nint text);

    // Errors.

    [LibraryImport(Name, EntryPoint = "pgentra_error_kind")]
    internal static partial int GetErrorKind(nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_error_message")]
    internal static partial nint GetErrorMessage(nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_error_detail_json")]
    internal static partial nint GetErrorDetail(nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_error_cause")]
    internal static partial nint GetErrorCause(nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_error_free")]
    internal static partial void FreeError(nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_error_new", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int NewError(int kind, string message, string? advice, string? credential, out nint error);

    // Providers.

    [LibraryImport(Name, EntryPoint = "pgentra_provider_open", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int OpenProvider(string config, out ProviderHandle provider, out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_provider_open_with", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int OpenProvider(
        string config, CredentialHandle credential, out ProviderHandle provider, out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_provider_close")]
    internal static partial void CloseProvider(nint provider);

    [LibraryImport(Name, EntryPoint = "pgentra_provider_try_get")]
    internal static partial int TryGet(
        ProviderHandle provider, ref ulong id, out nint token, out long expiresOn, out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_provider_get_async")]
    internal static partial int GetAsync(
        ProviderHandle provider,
        int timeoutMs,
        delegate* unmanaged[Cdecl]<nint, Outcome*, void> callback,
        nint userData,
        out OperationHandle operation,
        out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_provider_try_login")]
    internal static partial int TryLogin(
        ProviderHandle provider,
        ref ulong id,
        out nint user,
        out nint password,
        out nint userSource,
        out long expiresOn,
        out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_provider_login_async")]
    internal static partial int LoginAsync(
        ProviderHandle provider,
        int timeoutMs,
        delegate* unmanaged[Cdecl]<nint, Outcome*, void> callback,
        nint userData,
        out OperationHandle operation,
        out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_provider_invalidate_async", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int InvalidateAsync(
        ProviderHandle provider,
        string? refused,
        int timeoutMs,
        delegate* unmanaged[Cdecl]<nint, Outcome*, void> callback,
        nint userData,
        out OperationHandle operation,
        out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_provider_stats")]
    internal static partial int GetStats(ProviderHandle provider, out nint json, out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_operation_cancel")]
    internal static partial int Cancel(OperationHandle operation, out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_operation_free")]
    internal static partial void FreeOperation(nint operation);

    // Credentials.

    [LibraryImport(Name, EntryPoint = "pgentra_credential_open", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int OpenCredential(
        string config, nint* members, nuint memberCount, out CredentialHandle credential, out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_credential_callback", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int OpenCredential(
        string name,
        delegate* unmanaged[Cdecl]<nint, nint, NativeTokenRequest*, void> callback,
        nint userData,
        delegate* unmanaged[Cdecl]<nint, void> finalizer,
        out CredentialHandle credential,
        out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_credential_close")]
    internal static partial void CloseCredential(nint credential);

    [LibraryImport(Name, EntryPoint = "pgentra_credential_try_get_token")]
    internal static partial int TryGetToken(
        CredentialHandle credential,
        NativeTokenRequest* request,
        ref ulong id,
        out nint token,
        out long expiresOn,
        out long refreshOn,
        out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_credential_get_token_async")]
    internal static partial int GetTokenAsync(
        CredentialHandle credential,
        NativeTokenRequest* request,
        int timeoutMs,
        delegate* unmanaged[Cdecl]<nint, Outcome*, void> callback,
        nint userData,
        out OperationHandle operation,
        out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_config_check", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int CheckConfig(string config, out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_request_respond", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Respond(nint request, string token, long expiresOn, long refreshOn, out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_request_fail", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Fail(
        nint request,
        string className,
        string message,
        [MarshalAs(UnmanagedType.U1)] bool unavailable,
        nint cause,
        delegate* unmanaged[Cdecl]<nint, void> causeFinalizer,
        out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_request_abandon")]
    internal static partial int Abandon(nint request, out nint error);

    // Rules.

    [LibraryImport(Name, EntryPoint = "pgentra_connection_plan", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int PlanConnection(string request, out nint plan, out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_connection_variables")]
    internal static partial int GetConnectionVariables(out nint json, out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_known_variables")]
    internal static partial int GetKnownVariables(out nint json, out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_login_error_is_retriable", StringMarshalling = StringMarshalling.Utf8)]
    [return: MarshalAs(UnmanagedType.U1)]
    internal static partial bool IsLoginErrorRetriable(string? sqlState, string message);

    [LibraryImport(Name, EntryPoint = "pgentra_login_error_explain", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int ExplainLoginError(
        string? sqlState,
        string message,
        string role,
        string? roleSource,
        string? token,
        string? host,
        string? environment,
        out nint text,
        out nint error);
}

/// <summary><c>pgentra_token_request</c></summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct NativeTokenRequest
{
    internal nuint Size;
    internal byte* Scope;
    internal byte* TenantId;
    internal byte* Claims;
    internal byte EnableCae;
}

/// <summary><c>pgentra_outcome</c>: valid until the callback returns.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Outcome
{
    internal int Code;
    internal nint Error;
    internal nint Token;
    internal nint User;
    internal nint UserSource;
    internal long ExpiresOn;
    internal long RefreshOn;
    internal ulong Id;
}

/// <summary><c>pgentra_provider *</c></summary>
internal sealed class ProviderHandle() : SafeHandle(0, ownsHandle: true)
{
    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        Native.CloseProvider(handle);
        return true;
    }
}

/// <summary><c>pgentra_credential *</c></summary>
internal sealed class CredentialHandle() : SafeHandle(0, ownsHandle: true)
{
    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        Native.CloseCredential(handle);
        return true;
    }
}

/// <summary><c>pgentra_operation *</c></summary>
internal sealed class OperationHandle() : SafeHandle(0, ownsHandle: true)
{
    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        Native.FreeOperation(handle);
        return true;
    }
}
