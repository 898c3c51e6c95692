// What an instance does before ECS starts on it. It knows paths, no stacks.
import { UserData } from 'aws-cdk-lib/aws-ec2'

/** Where containers see it. The worker's user owns the folder. */
export const scratchFolder = '/mnt/scratch/coglabel'
export const workerUser = '1000:1000'

/** The instance's own disks under /mnt/scratch, with room for the model and for the container's image. */
export function instanceUserData(): UserData {
  const data = UserData.forLinux()
  data.addCommands(
    'set -eu',
    'mkdir -p /mnt/scratch',
    // The first NVMe disk of the instance; without one, the root volume is used, which is slower and smaller.
    'disk=$(ls /dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_* 2>/dev/null | grep -v -- -ns- | head -1 || true)',
    'if [ -n "$disk" ]; then mkfs.xfs -f "$disk"; mount -o noatime "$disk" /mnt/scratch; fi',
    `install -d -o ${workerUser.split(':')[0]} -g ${workerUser.split(':')[1]} -m 0700 ${scratchFolder}`,
    // Pulling the image writes gigabytes: to the fast disk as well.
    'if [ -n "$disk" ]; then systemctl stop docker.socket docker || true',
    'mkdir -p /mnt/scratch/docker /var/lib/docker && mount --bind /mnt/scratch/docker /var/lib/docker',
    'systemctl start docker; fi',
    // Tasks have a role of their own, and no business with the instance's.
    'echo ECS_AWSVPC_BLOCK_IMDS=true >> /etc/ecs/ecs.config',
    'echo ECS_ENABLE_GPU_SUPPORT=true >> /etc/ecs/ecs.config',
    'echo ECS_CONTAINER_STOP_TIMEOUT=2m >> /etc/ecs/ecs.config',
    'echo ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION=10m >> /etc/ecs/ecs.config',
  )
  return data
}
