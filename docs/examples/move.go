// Moves a guest, once, and follows it until nothing more is to be expected: move [OPTIONS] TARGET GUEST DESTINATION
//
// TARGET is where the daemon of the host is that the guest is on: unix:/run/godwit/godwitd.sock, or HOST:PORT with -ca, -certificate and -key, files
// in PEM as `godwit certs init` makes them; -server-name where the certificate has another name than HOST. The exit code is 0 if the guest moved.
// Package godwit/v1 is made from proto/ by protoc-gen-go and protoc-gen-go-grpc.
package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	godwit "godwit/v1"
)

// Debian's grpc (1.33) reads messages of an older kind than its protoc-gen-go makes; a newer grpc needs no codec.
type codec struct{}

func (codec) Name() string { return "proto" }
func (codec) Marshal(message interface{}) ([]byte, error) {
	return proto.Marshal(message.(proto.Message))
}
func (codec) Unmarshal(bytes []byte, to interface{}) error {
	return proto.Unmarshal(bytes, to.(proto.Message))
}

// Whether asking again may help. Every call here is harmless to repeat.
func passing(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}

// Asks again while time may help, when the daemon says so or after a second.
func patiently(call func() error) error {
	for left := 9; ; left-- {
		err := call()
		if err == nil || !passing(err) || left == 0 {
			return err
		}
		wait := time.Second
		for _, detail := range status.Convert(err).Details() {
			if retry, ok := detail.(*errdetails.RetryInfo); ok {
				delay := retry.GetRetryDelay()
				wait = time.Duration(delay.GetSeconds())*time.Second + time.Duration(delay.GetNanos())
			}
		}
		time.Sleep(wait)
	}
}

// Every change until it is settled, over lost connections.
func follow(client godwit.MigrationServiceClient, migration *godwit.Migration, tell func(*godwit.Migration)) (*godwit.Migration, error) {
	tell(migration)
	for !migration.GetSettled() {
		seen := &godwit.WatchMigrationRequest{Id: migration.GetId(), AfterRevision: migration.GetRevision()}
		watch, err := client.WatchMigration(context.Background(), seen)
		for err == nil {
			var answer *godwit.WatchMigrationResponse
			if answer, err = watch.Recv(); err == nil {
				migration = answer.GetMigration()
				tell(migration)
			}
		}
		if err != io.EOF && !passing(err) {
			return migration, err
		}
		if !migration.GetSettled() {
			time.Sleep(time.Second)
		}
	}
	return migration, nil
}

func move(client godwit.MigrationServiceClient, guest, destination string) (*godwit.Migration, error) {
	// In a control plane: kept with the task, before the call.
	name := make([]byte, 16)
	if _, err := rand.Read(name); err != nil {
		return nil, err
	}
	wanted := &godwit.CreateMigrationRequest{Guest: guest, Destination: destination, RequestId: fmt.Sprintf("%x", name)}
	var begun *godwit.CreateMigrationResponse
	err := patiently(func() (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		begun, err = client.CreateMigration(ctx, wanted)
		return err
	})
	if err != nil {
		return nil, err
	}
	phase := godwit.Phase_PHASE_UNSPECIFIED
	return follow(client, begun.GetMigration(), func(migration *godwit.Migration) {
		if migration.GetPhase() != phase {
			phase = migration.GetPhase()
			fmt.Println(migration.GetId()[:8], phase, migration.GetBecause())
		}
	})
}

var (
	ca          = flag.String("ca", "", "the authority of both sides' certificates")
	certificate = flag.String("certificate", "", "the certificate of an operator")
	key         = flag.String("key", "", "its key")
	serverName  = flag.String("server-name", "", "the name in the host's certificate [default: HOST]")
)

// The socket, or mutual TLS: both sides show a certificate of the same authority.
func connect(target string) (*grpc.ClientConn, error) {
	options := grpc.WithDefaultCallOptions(grpc.ForceCodec(codec{}))
	if *ca == "" {
		socket := strings.TrimPrefix(target, "unix:")
		dial := func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}
		return grpc.Dial("passthrough:///godwit", grpc.WithInsecure(), grpc.WithContextDialer(dial), options)
	}
	authority, err := os.ReadFile(*ca)
	if err != nil {
		return nil, err
	}
	own, err := tls.LoadX509KeyPair(*certificate, *key)
	if err != nil {
		return nil, err
	}
	known := x509.NewCertPool()
	if !known.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s: no certificate in it", *ca)
	}
	keys := &tls.Config{
		RootCAs:      known,
		Certificates: []tls.Certificate{own},
		ServerName:   *serverName,
		MinVersion:   tls.VersionTLS13,
	}
	return grpc.Dial(target, grpc.WithTransportCredentials(credentials.NewTLS(keys)), options)
}

func main() {
	flag.Parse()
	if flag.NArg() != 3 {
		fmt.Fprintln(os.Stderr, "usage: move [OPTIONS] TARGET GUEST DESTINATION")
		os.Exit(2)
	}
	connection, err := connect(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer connection.Close()
	migration, err := move(godwit.NewMigrationServiceClient(connection), flag.Arg(1), flag.Arg(2))
	if err != nil {
		refused := status.Convert(err)
		for _, detail := range refused.Details() {
			switch detail := detail.(type) {
			case *errdetails.ErrorInfo:
				fmt.Println("refused:", detail.GetReason(), detail.GetMetadata())
			case *errdetails.Help:
				for _, link := range detail.GetLinks() {
					fmt.Println("next:", link.GetDescription())
				}
			}
		}
		fmt.Println(refused.Code(), refused.Message())
		os.Exit(1)
	}
	fmt.Println(migration.GetMoved(), migration.GetAcceleration())
	if migration.GetMoved() != godwit.Moved_MOVED_YES {
		os.Exit(1)
	}
}
