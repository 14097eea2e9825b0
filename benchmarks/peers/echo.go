// Go: package net, one goroutine a connection, Read and Write.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"runtime"
	"syscall"
)

func handle(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return
		}
	}
}

func yielding() {
	for {
		runtime.Gosched()
	}
}

func spinning() {
	for {
	}
}

func main() {
	port := flag.Int("port", 0, "")
	yields := flag.Int("yielding", 0, "so many busy loops that yield on each turn")
	spins := flag.Int("spinning", 0, "so many busy loops that never yield")
	flag.Parse()

	var limit syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	limit.Cur = limit.Max
	syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)

	// The backlog is the system's somaxconn.
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("LISTENING", listener.Addr().(*net.TCPAddr).Port)
	for i := 0; i < *yields; i++ {
		go yielding()
	}
	for i := 0; i < *spins; i++ {
		go spinning()
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go handle(conn)
	}
}
