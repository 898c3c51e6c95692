// What an instance does before ECS starts on it. It knows paths, no stacks.
import { UserData } from 'aws-cdk-lib/aws-ec2'

/** Where containers see it. The worker's user owns the folder. */
export const scratchFolder = '/mnt/scratch/coglabel'
export const workerUser = '1000:1000'

/**
 * The agent's settings, and the instance's own disk under /mnt/scratch with room for the model and the container's
 * image. Without such a disk all lies on the root volume, which is slower; an instance that joins late is no help.
 */
export function instanceUserData({ isSpot }: { isSpot: boolean }): UserData {
  const data = UserData.forLinux()
  const agent = [
    // Tasks have a role of their own, and no business with the instance's.
    'ECS_AWSVPC_BLOCK_IMDS=true',
    'ECS_ENABLE_GPU_SUPPORT=true',
    'ECS_CONTAINER_STOP_TIMEOUT=2m',
    'ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION=10m',
    // A notice of two minutes makes ECS stop the task, which then gives back what it cannot finish.
    ...(isSpot ? ['ECS_ENABLE_SPOT_INSTANCE_DRAINING=true'] : []),
  ]
  data.addCommands(
    ...agent.map((line) => `echo ${line} >> /etc/ecs/ecs.config`),
    'mkdir -p /mnt/scratch',
    'disk=$(ls /dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_* 2>/dev/null | grep -v -- -ns- | head -1)',
    'if [ -n "$disk" ] && mkfs.xfs -f "$disk" && mount -o noatime "$disk" /mnt/scratch; then',
    // Pulling the image writes gigabytes: to the fast disk as well.
    '  systemctl stop docker.socket docker',
    '  mkdir -p /mnt/scratch/docker /var/lib/docker',
    '  mount --bind /mnt/scratch/docker /var/lib/docker',
    '  systemctl start docker',
    'fi',
    `install -d -o ${workerUser.split(':')[0]} -g ${workerUser.split(':')[1]} -m 0700 ${scratchFolder}`,
  )
  return data
}
