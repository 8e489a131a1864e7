// Command cri starts and ends pods by the container runtime interface of
// containerd, as the kubelet does. It is a module of its own, so that the
// client's dependencies are not nstool's.
//
//	cri start NAMESPACE NAME UID pod|node IMAGE CONTAINER...
//	cri stop ID
//	cri missing
//
// Start prints a JSON object with the pod's and its containers' IDs and PIDs;
// with "node" the pod shares the network of the host. Each container is named
// and sleeps. Missing prints the name of the image that holds a pod if containerd
// does not have it and would have to pull it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const socket = "unix:///run/containerd/containerd.sock"

// A made is a sandbox or container.
type made struct {
	Name string
	ID   string
	PID  int
}

// A pod is what start prints.
type pod struct {
	made
	Containers []made
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cri:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := grpc.NewClient(socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := runtime.NewRuntimeServiceClient(conn)
	switch {
	case len(args) >= 6 && args[0] == "start":
		p, err := start(ctx, client, args[1], args[2], args[3], args[4] == "node", args[5], args[6:])
		if err != nil && p.ID != "" {
			err = errors.Join(err, stop(ctx, client, p.ID))
		}
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(p)
	case len(args) == 2 && args[0] == "stop":
		return stop(ctx, client, args[1])
	case len(args) == 1 && args[0] == "missing":
		return missing(ctx, client, runtime.NewImageServiceClient(conn))
	}
	return errors.New("usage: cri start NAMESPACE NAME UID pod|node IMAGE CONTAINER... | cri stop ID | cri missing")
}

func start(ctx context.Context, c runtime.RuntimeServiceClient, namespace, name, uid string, node bool, image string, containers []string) (p pod, err error) {
	p.Name = name
	network := runtime.NamespaceMode_POD
	if node {
		network = runtime.NamespaceMode_NODE
	}
	config := &runtime.PodSandboxConfig{
		Metadata: &runtime.PodSandboxMetadata{Name: name, Namespace: namespace, Uid: uid},
		Labels: map[string]string{ // as the kubelet does
			"io.kubernetes.pod.name":      name,
			"io.kubernetes.pod.namespace": namespace,
			"io.kubernetes.pod.uid":       uid,
		},
		Linux: &runtime.LinuxPodSandboxConfig{
			CgroupParent: "/kubepods/besteffort/pod" + uid,
			SecurityContext: &runtime.LinuxSandboxSecurityContext{
				NamespaceOptions: &runtime.NamespaceOption{Network: network, Pid: runtime.NamespaceMode_CONTAINER},
			},
		},
	}
	if !node { // which has the host's UTS namespace, too
		config.Hostname = name
	}
	sandbox, err := c.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: config})
	if err != nil {
		return p, fmt.Errorf("RunPodSandbox: %w", err)
	}
	p.ID = sandbox.PodSandboxId
	status, err := c.PodSandboxStatus(ctx, &runtime.PodSandboxStatusRequest{PodSandboxId: p.ID, Verbose: true})
	if err != nil {
		return p, fmt.Errorf("PodSandboxStatus: %w", err)
	}
	if p.PID, err = pidOf(status.Info); err != nil {
		return p, err
	}
	for _, name := range containers {
		container, err := c.CreateContainer(ctx, &runtime.CreateContainerRequest{
			PodSandboxId:  p.ID,
			SandboxConfig: config,
			Config: &runtime.ContainerConfig{
				Metadata: &runtime.ContainerMetadata{Name: name},
				Image:    &runtime.ImageSpec{Image: image},
				Command:  []string{"/bin/sleep", "10000"},
				Labels: map[string]string{
					"io.kubernetes.container.name": name,
					"io.kubernetes.pod.name":       p.Name,
					"io.kubernetes.pod.namespace":  namespace,
					"io.kubernetes.pod.uid":        uid,
				},
				Linux: &runtime.LinuxContainerConfig{SecurityContext: &runtime.LinuxContainerSecurityContext{
					NamespaceOptions: config.Linux.SecurityContext.NamespaceOptions,
				}},
			},
		})
		if err != nil {
			return p, fmt.Errorf("CreateContainer %s: %w", name, err)
		}
		if _, err := c.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: container.ContainerId}); err != nil {
			return p, fmt.Errorf("StartContainer %s: %w", name, err)
		}
		status, err := c.ContainerStatus(ctx, &runtime.ContainerStatusRequest{ContainerId: container.ContainerId, Verbose: true})
		if err != nil {
			return p, fmt.Errorf("ContainerStatus %s: %w", name, err)
		}
		pid, err := pidOf(status.Info)
		if err != nil {
			return p, err
		}
		p.Containers = append(p.Containers, made{Name: name, ID: container.ContainerId, PID: pid})
	}
	return p, nil
}

// pidOf reads the init process out of what a verbose status tells.
func pidOf(info map[string]string) (int, error) {
	var v struct{ PID int }
	if err := json.Unmarshal([]byte(info["info"]), &v); err != nil {
		return 0, fmt.Errorf("status: %w", err)
	}
	if v.PID == 0 {
		return 0, fmt.Errorf("status without a PID: %s", info["info"])
	}
	return v.PID, nil
}

func missing(ctx context.Context, c runtime.RuntimeServiceClient, images runtime.ImageServiceClient) error {
	status, err := c.Status(ctx, &runtime.StatusRequest{Verbose: true})
	if err != nil {
		return fmt.Errorf("Status: %w", err)
	}
	var config struct{ SandboxImage string }
	if err := json.Unmarshal([]byte(status.Info["config"]), &config); err != nil || config.SandboxImage == "" {
		return err
	}
	image, err := images.ImageStatus(ctx, &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: config.SandboxImage}})
	if err != nil {
		return fmt.Errorf("ImageStatus: %w", err)
	}
	if image.Image == nil {
		fmt.Println(config.SandboxImage)
	}
	return nil
}

// stop ends a pod with all its containers, and removes them.
func stop(ctx context.Context, c runtime.RuntimeServiceClient, id string) error {
	if _, err := c.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		return fmt.Errorf("StopPodSandbox: %w", err)
	}
	if _, err := c.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
		return fmt.Errorf("RemovePodSandbox: %w", err)
	}
	return nil
}
