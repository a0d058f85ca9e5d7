// The smallest honest external gRPC provider in Go: every answer comes from a map filled at the start.
//
// `make bench` measures our front door against it, with the same client and the same fleet. It listens on a free
// port, prints {"address": "127.0.0.1:…"} on one line and serves until its stdin is closed.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"nodeset.dev/tools/frontdoor/core"
	pb "nodeset.dev/tools/frontdoor/externalgrpc"
	"nodeset.dev/tools/frontdoor/fleet"
)

type server struct {
	pb.UnimplementedCloudProviderServer
	groups    *pb.NodeGroupsResponse
	byNode    map[string]*pb.NodeGroupForNodeResponse
	targets   map[string]*pb.NodeGroupTargetSizeResponse
	instances map[string]*pb.NodeGroupNodesResponse
	template  *pb.NodeGroupTemplateNodeInfoResponse
}

func newServer(f fleet.Fleet) *server {
	s := &server{
		groups:    &pb.NodeGroupsResponse{},
		byNode:    map[string]*pb.NodeGroupForNodeResponse{},
		targets:   map[string]*pb.NodeGroupTargetSizeResponse{},
		instances: map[string]*pb.NodeGroupNodesResponse{},
	}
	for i := range f.Groups {
		id := f.Group(i)
		s.groups.NodeGroups = append(s.groups.NodeGroups, &pb.NodeGroup{Id: id, MaxSize: 1000, Debug: id})
		s.targets[id] = &pb.NodeGroupTargetSizeResponse{TargetSize: int32(f.Size(i))}
		s.instances[id] = &pb.NodeGroupNodesResponse{}
	}
	for n := range f.Nodes {
		group := s.groups.NodeGroups[n%f.Groups]
		s.byNode[f.ProviderID(n)] = &pb.NodeGroupForNodeResponse{NodeGroup: group}
		nodes := s.instances[group.Id]
		nodes.Instances = append(nodes.Instances, &pb.Instance{
			Id:     f.ProviderID(n),
			Status: &pb.InstanceStatus{InstanceState: pb.InstanceStatus_instanceRunning},
		})
	}
	resources := map[string]*core.Quantity{"cpu": {String_: "4"}, "memory": {String_: "16Gi"}, "pods": {String_: "110"}}
	node, err := proto.Marshal(&core.Node{
		Metadata: &core.ObjectMeta{Name: "template"},
		Status:   &core.NodeStatus{Capacity: resources, Allocatable: resources},
	})
	if err != nil {
		log.Fatal(err)
	}
	s.template = &pb.NodeGroupTemplateNodeInfoResponse{NodeInfo: node, NodeBytes: node}
	return s
}

func find[T any](answers map[string]*T, id string) (*T, error) {
	if answer, ok := answers[id]; ok {
		return answer, nil
	}
	return nil, status.Errorf(codes.NotFound, "no group %q", id)
}

func (*server) Refresh(context.Context, *pb.RefreshRequest) (*pb.RefreshResponse, error) {
	return &pb.RefreshResponse{}, nil
}

func (s *server) NodeGroups(context.Context, *pb.NodeGroupsRequest) (*pb.NodeGroupsResponse, error) {
	return s.groups, nil
}

func (s *server) NodeGroupForNode(_ context.Context, r *pb.NodeGroupForNodeRequest) (*pb.NodeGroupForNodeResponse, error) {
	if answer, ok := s.byNode[r.GetNode().GetProviderID()]; ok {
		return answer, nil
	}
	return &pb.NodeGroupForNodeResponse{NodeGroup: &pb.NodeGroup{}}, nil
}

func (s *server) NodeGroupTargetSize(_ context.Context, r *pb.NodeGroupTargetSizeRequest) (*pb.NodeGroupTargetSizeResponse, error) {
	return find(s.targets, r.GetId())
}

func (s *server) NodeGroupNodes(_ context.Context, r *pb.NodeGroupNodesRequest) (*pb.NodeGroupNodesResponse, error) {
	return find(s.instances, r.GetId())
}

func (s *server) NodeGroupTemplateNodeInfo(context.Context, *pb.NodeGroupTemplateNodeInfoRequest) (*pb.NodeGroupTemplateNodeInfoResponse, error) {
	return s.template, nil
}

func (s *server) NodeGroupGetOptions(_ context.Context, r *pb.NodeGroupAutoscalingOptionsRequest) (*pb.NodeGroupAutoscalingOptionsResponse, error) {
	if _, err := find(s.targets, r.GetId()); err != nil {
		return nil, err
	}
	return &pb.NodeGroupAutoscalingOptionsResponse{}, nil
}

func main() {
	var f fleet.Fleet
	flag.IntVar(&f.Groups, "groups", 1000, "number of node groups")
	flag.IntVar(&f.Nodes, "nodes", 5000, "number of nodes, spread over the groups")
	flag.Parse()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	rpc := grpc.NewServer()
	pb.RegisterCloudProviderServer(rpc, newServer(f))
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"address": listener.Addr().String()}); err != nil {
		log.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		rpc.Stop()
	}()
	if err := rpc.Serve(listener); err != nil {
		log.Fatal(err)
	}
}
