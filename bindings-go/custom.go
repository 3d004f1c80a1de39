package pgentra

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"
)

// A custom credential gets its requests from a queue of the library: a goroutine waits in it, so that no thread of the library
// calls Go. It occupies one thread for each custom credential that is in use.

// requestLimit is that of the library's slowest credential.
const requestLimit = 75 * time.Second

type queue struct {
	credential TokenCredential
	handle     credentialHandle
	users      int
	context    context.Context
	cancel     context.CancelFunc
}

var (
	queueLock sync.Mutex
	queues    = map[any]*queue{}
)

// acquireQueue returns the queue of a credential. Equal pointers share one, and with it the cached tokens.
func acquireQueue(credential TokenCredential) (*queue, error) {
	key, isShared := keyOf(credential)
	queueLock.Lock()
	defer queueLock.Unlock()
	if isShared {
		if found, ok := queues[key]; ok {
			found.users++
			return found, nil
		}
	}
	handle, err := openQueue(nameOf(credential))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	made := &queue{credential: credential, handle: handle, users: 1, context: ctx, cancel: cancel}
	if isShared {
		queues[key] = made
	}
	go made.serve()
	return made, nil
}

func releaseQueue(released *queue) {
	queueLock.Lock()
	defer queueLock.Unlock()
	if released.users--; released.users > 0 {
		return
	}
	if key, isShared := keyOf(released.credential); isShared {
		delete(queues, key)
	}
	released.cancel()
	closeCredential(released.handle)
}

// keyOf returns what equal credentials have in common: the pointer, or that of the credential which a converter wraps.
func keyOf(credential TokenCredential) (key any, isShared bool) {
	key = credential
	if wrapper, ok := credential.(interface{ CacheKey() any }); ok {
		key = wrapper.CacheKey()
	}
	return key, key != nil && reflect.TypeOf(key).Kind() == reflect.Pointer
}

// nameOf returns the name of a credential for errors and logs.
func nameOf(credential any) string {
	if named, ok := credential.(interface{ CredentialName() string }); ok {
		return named.CredentialName()
	}
	name := fmt.Sprintf("%T", credential)
	return name[strings.LastIndex(name, ".")+1:]
}

func (q *queue) serve() {
	for {
		request, wanted, ok := nextRequest(q.handle)
		if !ok {
			return
		}
		if request != nil {
			go q.answer(request, wanted)
		}
	}
}

type insideKey struct{}

// inside are the queues whose credentials are being called.
type inside struct {
	queue *queue
	outer *inside
}

// isInside reports whether a call with this context is made by one of the credentials.
func isInside(ctx context.Context, queues []*queue) bool {
	if len(queues) == 0 {
		return false
	}
	calls, _ := ctx.Value(insideKey{}).(*inside)
	for ; calls != nil; calls = calls.outer {
		for _, one := range queues {
			if calls.queue == one {
				return true
			}
		}
	}
	return false
}

func (q *queue) answer(request requestHandle, wanted TokenRequest) {
	ctx, cancel := context.WithTimeout(q.context, requestLimit)
	defer cancel()
	ctx = context.WithValue(ctx, insideKey{}, &inside{queue: q})
	defer func() {
		// A panic of the application's code must not end the program on a goroutine that it did not start.
		if reason := recover(); reason != nil {
			err := fmt.Errorf("the credential panicked: %v", reason)
			fail(request, "panic", err.Error(), false, err)
		}
	}()
	token, err := q.credential.GetToken(ctx, wanted)
	switch {
	case err != nil:
		fail(request, classOf(err), messageOf(err), isUnavailable(err), err)
	case withoutNUL(token.Value()) != token.Value():
		err = errors.New("the token contains NUL characters")
		fail(request, "error", err.Error(), false, err)
	default:
		respond(request, token)
	}
}

func isUnavailable(err error) bool {
	if errors.Is(err, ErrCredentialUnavailable) {
		return true
	}
	// As the SDK for Go marks its errors, which this package does not import.
	for ; err != nil; err = errors.Unwrap(err) {
		if name := fmt.Sprintf("%T", err); strings.HasSuffix(strings.ToLower(name), ".credentialunavailableerror") {
			return true
		}
	}
	return false
}

// classOf returns the name of an error's type, or "error" for one that programs cannot name.
func classOf(err error) string {
	name := fmt.Sprintf("%T", err)
	name = name[strings.LastIndex(name, ".")+1:]
	if name == "" || name[0] < 'A' || name[0] > 'Z' {
		return "error"
	}
	return name
}

// messageOf returns Entra's own message if the error quotes it: the SDK puts many lines before it.
func messageOf(err error) string {
	text := err.Error()
	if found := strings.Index(text, "AADSTS"); found >= 0 {
		text = text[found:]
	}
	return strings.Join(strings.Fields(text), " ")
}

// isNil reports whether a credential is a nil pointer or function.
func isNil(credential TokenCredential) bool {
	if credential == nil {
		return true
	}
	switch value := reflect.ValueOf(credential); value.Kind() {
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Chan:
		return value.IsNil()
	default:
		return false
	}
}
