package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// runtime runs what containers would.
type runtime struct{ root string }

// ExecInContainer runs a command of this machine.
func (host runtime) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader,
	out, errs io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	if len(command) == 0 {
		return fmt.Errorf("no command")
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = host.root
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + host.root, "TMPDIR=" + host.root}
	// Whatever is still at work ends with this process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = out, errs
	if in != nil {
		// Not cmd.Stdin: the command may end while the client still holds its end open.
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			defer stdin.Close()
			io.Copy(stdin, in)
		}()
	}
	err := cmd.Run()
	if exit, ok := err.(*exec.ExitError); ok {
		return &utilexec.ExitErrorWrapper{ExitError: exit}
	}
	return err
}

// AttachContainer attaches to a process that sends everything back.
func (host runtime) AttachContainer(ctx context.Context, name, uid, container string, in io.Reader,
	out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	command := []string{"sh", "-c", "echo attached; echo aside >&2; cat"}
	return host.ExecInContainer(ctx, name, uid, container, command, in, out, errs, tty, resize, 0)
}

// PortForward connects a stream with a port of 127.0.0.1, each direction until it ends.
func (runtime) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer connection.Close()
	go func() {
		io.Copy(connection, stream)
		connection.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(stream, connection)
	return err
}
