using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using PgEntra.Identity;

namespace PgEntra.Interop;

/// <summary>Starts an asynchronous call of the engine, which ends in <paramref name="callback"/>.</summary>
internal unsafe delegate int StartCall(
    delegate* unmanaged[Cdecl]<nint, Outcome*, void> callback, nint userData, out OperationHandle operation, out nint error);

/// <summary>An asynchronous call of the engine in progress.</summary>
internal abstract unsafe class PendingCall
{
    /// <summary>How long other threads than the one that ends the process continue to wait.</summary>
    private static readonly TimeSpan ExitDelay = TimeSpan.FromSeconds(2);

    private static readonly Registry<PendingCall> InProgress = new();

    private readonly int thread = Environment.CurrentManagedThreadId;

    /// <summary>The number of calls in progress.</summary>
    internal static int Count => InProgress.Count;

    /// <summary>Starts the call. It ends with one call of <see cref="Complete"/>.</summary>
    protected OperationHandle Start(StartCall start)
    {
        var id = InProgress.Add(this);
        int code;
        OperationHandle operation;
        nint error;
        try
        {
            code = start(&OnDone, id, out operation, out error);
        }
        catch
        {
            // The handle is closed.
            _ = InProgress.Remove(id);
            throw;
        }

        if (code != 0)
        {
            _ = InProgress.Remove(id);
            throw NativeError.Take(error);
        }

        return operation;
    }

    protected static void Cancel(OperationHandle operation)
    {
        try
        {
            _ = Native.Cancel(operation, out var error);
            Native.FreeError(error);
        }
        catch (ObjectDisposedException)
        {
            // The wait has ended.
        }
    }

    /// <summary>Receives the outcome on a thread of the engine. The outcome is valid until the method returns.</summary>
    protected abstract void Complete(in Outcome outcome);

    /// <summary>Ends the call with a failure.</summary>
    protected abstract void Fail(Exception failure);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void OnDone(nint id, Outcome* outcome)
    {
        try
        {
            var call = InProgress.Find(id);
            if (call is not null && outcome->Code == (int)ErrorKind.ShuttingDown && Library.IsEndedByAnotherThread(call.thread))
            {
                // An unhandled exception would abort the process, which is about to end with its own exit code. It is thrown
                // after a delay, for code that ends the process only after this thread.
                var failure = NativeError.Read(outcome->Error);
                _ = Task.Delay(ExitDelay).ContinueWith(_ => call.Fail(failure), TaskScheduler.Default);
                return;
            }

            call?.Complete(*outcome);
        }
        finally
        {
            _ = InProgress.Remove(id);
        }
    }
}

/// <summary>Converts the outcome of a successful call.</summary>
internal delegate T ReadOutcome<out T>(in Outcome outcome);

/// <summary>A call that a task waits for.</summary>
internal sealed class TaskCall<T>(ReadOutcome<T> read) : PendingCall
{
    // Continuations must not run on the engine's thread.
    private readonly TaskCompletionSource<T> source = new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal async Task<T> RunAsync(StartCall start, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using var operation = Start(start);
        using var registration = cancellationToken.UnsafeRegister(
            (_, token) =>
            {
                _ = source.TrySetCanceled(token);
                Cancel(operation);
            },
            null);
        return await source.Task.ConfigureAwait(false);
    }

    protected override void Complete(in Outcome outcome)
    {
        try
        {
            _ = outcome.Code == 0 ? source.TrySetResult(read(outcome)) : source.TrySetException(NativeError.Read(outcome.Error));
        }
        catch (Exception failure)
        {
            // An exception must not reach the engine.
            _ = source.TrySetException(failure);
        }
    }

    protected override void Fail(Exception failure) => source.TrySetException(failure);
}

/// <summary>A call that a thread waits for. The engine's thread wakes it; the thread pool is not used.</summary>
internal sealed class BlockingCall<T>(ReadOutcome<T> read) : PendingCall
{
    private readonly object gate = new();
    private bool ended;
    private T? result;
    private Exception? failure;

    internal T Run(StartCall start, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using var operation = Start(start);
        using var registration = cancellationToken.UnsafeRegister(
            (_, token) =>
            {
                End(default, new OperationCanceledException(token));
                Cancel(operation);
            },
            null);
        lock (gate)
        {
            while (!ended)
            {
                _ = Monitor.Wait(gate);
            }
        }

        return failure is null ? result! : throw failure;
    }

    protected override void Complete(in Outcome outcome)
    {
        try
        {
            if (outcome.Code == 0)
            {
                End(read(outcome), null);
            }
            else
            {
                End(default, NativeError.Read(outcome.Error));
            }
        }
        catch (Exception unexpected)
        {
            // An exception must not reach the engine.
            End(default, unexpected);
        }
    }

    protected override void Fail(Exception failure) => End(default, failure);

    private void End(T? value, Exception? error)
    {
        lock (gate)
        {
            if (!ended)
            {
                (ended, result, failure) = (true, value, error);
                Monitor.PulseAll(gate);
            }
        }
    }
}
