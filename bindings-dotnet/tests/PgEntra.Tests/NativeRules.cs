using System.Runtime.InteropServices;

namespace PgEntra.Tests;

/// <summary>Functions of <c>pgentra.h</c> that PgEntra does not use: rules for the drivers of other languages.</summary>
internal static partial class NativeRules
{
    private const string Name = "pgentra";

    [LibraryImport(Name, EntryPoint = "pgentra_decode_jwt", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int DecodeJwt(string token, out nint json, out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_describe_token", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int DescribeToken(string token, out nint json, out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_parse_principal_name", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int ParsePrincipalName(string resourceId, out nint name, out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_resolve_cloud", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int ResolveCloud(
        string? scope,
        string? host,
        string? authorityHost,
        string? cloud,
        string? environmentAuthorityHost,
        out nint json,
        out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_login_error_cause", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial nint GetLoginErrorCause(string? sqlState, string message);

    [LibraryImport(Name, EntryPoint = "pgentra_login_error_is_retriable", StringMarshalling = StringMarshalling.Utf8)]
    [return: MarshalAs(UnmanagedType.U1)]
    internal static partial bool IsRetriable(string? sqlState, string message);

    [LibraryImport(Name, EntryPoint = "pgentra_login_error_explain", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int ExplainLoginError(
        string? sqlState,
        string message,
        string role,
        string roleSource,
        string? token,
        string? host,
        string? environment,
        out nint text,
        out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_connection_read", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int ReadConnection(string text, string? form, out nint settings, out nint error);

    [LibraryImport(Name, EntryPoint = "pgentra_error_kinds")]
    internal static partial int GetErrorKinds(out nint json, out nint error);
}
